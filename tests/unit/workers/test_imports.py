import subprocess
import sys

from phosphene_server.workers.process import _search_path


def test_the_front_side_of_the_line_imports_neither_torch_nor_the_engine():
    script = (
        "import sys, phosphene_server.workers.local, phosphene_server.workers.supervisor\n"
        "print([name for name in sys.modules if name in {'torch', 'onnx', 'phosphene_server.engine'}])"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, env={"PYTHONPATH": _search_path()}, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"

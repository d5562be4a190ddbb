"""What `import phosphene` gives and costs."""

import subprocess
import sys
import time

import phosphene


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_public_names():
    assert sorted(phosphene.__all__) == [
        "Client",
        "ContactSheet",
        "FilterStatistics",
        "Filters",
        "Frame",
        "KernelResponse",
        "KernelResponses",
        "Layer",
        "LayerFailure",
        "LayerFrame",
        "LayerKernel",
        "LayerPicture",
        "LayerProgress",
        "LayerResult",
        "LayerRun",
        "LayerSettings",
        "LayerWarning",
        "Maximization",
        "MaximizationSettings",
        "MaximizationWarning",
        "Model",
        "ModelReference",
        "ModelSummary",
        "PhospheneError",
        "Progress",
        "Result",
        "Run",
        "aio",
        "connect",
        "errors",
        "launch",
        "layer_kernel",
        "objectives",
        "optimizers",
        "parameterizations",
        "penalties",
        "stop_rules",
        "transforms",
    ]
    assert all(hasattr(phosphene, name) for name in phosphene.__all__)


def test_importing_is_quick():
    # The processor's time, and the best of three: other work on the machine is no fault of the package.
    code = "import time; start = time.process_time(); import phosphene; print(time.process_time() - start)"
    assert min(float(run(code)) for _ in range(3)) < 0.5


def test_importing_brings_neither_torch_nor_the_server_nor_the_command_line():
    code = "import sys, phosphene; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    names = set(run(code).split())
    assert "phosphene" in names
    assert not names & {"torch", "onnx", "onnxruntime", "phosphene_server", "typer", "rich", "pydantic"}


def test_importing_starts_no_thread():
    assert run("import threading, phosphene; print(threading.active_count())") == "1"


def test_a_program_that_forgets_its_client_ends(service):
    started = time.monotonic()
    code = f"import phosphene; client = phosphene.connect({service.address!r}); print(len(client.models()))"
    assert run(code) == "2"
    assert time.monotonic() - started < 10

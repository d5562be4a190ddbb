"""The README's session runs as it stands, as a script of its own without a main guard."""

import os
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def test_the_session_in_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (session,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    Image.linear_gradient("L").save(tmp_path / "photo.jpg")
    script = tmp_path / "session.py"
    script.write_text(session + "\nprint(result.images.shape, result.images.dtype)\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("conv1 convolution ") for line in lines)
    assert any(line.startswith("256 [") for line in lines)
    assert lines[-1] == "(1, 96, 96, 3) uint8"
    for name, width in (("filters.png", 781), ("edges.png", 256), ("256.png", 96)):
        with Image.open(tmp_path / name) as picture:
            assert picture.width == width

"""Files that mean harm or are broken, each made on the spot, and what must come of it.

None may execute anything, read or write outside its folder, take long or much memory, or end in anything but an error
of the service's own that says what is wrong. Some are only suspicious, and load.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from phosphene_server.values.model import ModelFormat

FILES: dict[ModelFormat, str] = {"onnx": "model.onnx", "torchscript": "model.pt", "torch_export": "model.pt2"}

PROOF = "proof"
"""What a file would write, in the folder above its own, if it were executed."""

SECRET = "secret"
"""What a file would read, in the folder above its own."""


@dataclass(frozen=True)
class HostileModel:
    """A file, how it is made, and what is said of it."""

    name: str
    format: ModelFormat
    write: Callable[[Path], object]
    """Writes it, given its path."""
    says: str
    """A regular expression that the error's text must match; empty: it loads."""


def write_all(root: Path, models: Sequence[HostileModel]) -> dict[str, Path]:
    """Write each file into a folder of its own, with a secret above it, and return the paths."""
    paths = {}
    for model in models:
        folder = root / model.name / "model"
        folder.mkdir(parents=True)
        (folder.parent / SECRET).write_bytes(bytes(4096))
        paths[model.name] = folder / FILES[model.format]
        model.write(paths[model.name])
        (folder.parent / PROOF).unlink(missing_ok=True)  # making a file may run what loading it must not
    return paths

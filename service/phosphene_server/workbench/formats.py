"""Which format a file has, by its content, and what it says of its version. Nothing in it is executed or unpacked."""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx

from phosphene_server.errors import DamagedModel
from phosphene_server.values.model import ModelFormat

MAXIMUM_PROGRAM_BYTES = 256 * 2**20
"""Of an archive's entry that is looked into."""


def format_of(path: Path, *, name: str) -> ModelFormat:
    """Return the format of a file: an archive with a program of torch.export, one of TorchScript, or else ONNX.

    Raises:
        DamagedModel: there is no such file, or it is an archive of something else.
    """
    if not path.is_file():
        raise DamagedModel(name, f"there is no file {str(path)!r}")
    if not zipfile.is_zipfile(path):
        if path.suffix in {".pt", ".pt2", ".pth"}:
            raise DamagedModel(name, f"{path.name} is not the archive that PyTorch writes; it may be truncated")
        return "onnx"
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry.split("/", 1)[-1] for entry in archive.namelist()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DamagedModel(name, f"the archive cannot be read: {error}") from error
    if any(entry.startswith("models/") and entry.endswith(".json") for entry in entries):
        return "torch_export"
    if "data.pkl" in entries:
        return "torchscript"
    raise DamagedModel(name, f"{path.name} is an archive, but neither of torch.export nor of TorchScript")


def written_as(path: Path, kind: ModelFormat) -> str:
    """Return the version of the format that a file was written in; empty where it cannot be told."""
    try:
        return VERSIONS[kind](path)
    except Exception:  # the import, which comes next, says what is wrong with the file
        return ""


def _onnx_version(path: Path) -> str:
    proto = onnx.load(path, load_external_data=False)
    operator_sets = (f"{entry.domain or 'opset'} {entry.version}" for entry in proto.opset_import)
    return ", ".join([*operator_sets, f"IR version {proto.ir_version}"])


def _torchscript_version(path: Path) -> str:
    return f"archive version {_entry(path, 'version').decode().strip()}"


def _torch_export_version(path: Path) -> str:
    version = json.loads(_entry(path, ".json", folder="models/"))["schema_version"]
    return f"schema {version['major']}.{version['minor']}"


VERSIONS: Mapping[ModelFormat, Callable[[Path], str]] = {
    "onnx": _onnx_version,
    "torchscript": _torchscript_version,
    "torch_export": _torch_export_version,
}


def _entry(path: Path, ending: str, *, folder: str = "") -> bytes:
    """Return the first entry below the topmost folder that has an ending."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            inner = entry.filename.split("/", 1)[-1]
            if inner.startswith(folder) and inner.endswith(ending) and entry.file_size <= MAXIMUM_PROGRAM_BYTES:
                return archive.read(entry)
    return b""

"""Loads the hostile files one after the other in a process of its own, and tells what came of each.

    python -m tests.hostile.loading FOLDER

It is held to `MEMORY_BYTES` more than it has when it starts, and prints one line of JSON for each file as soon as it is
done with it, so that the parent knows which file it hung or died on.
"""

import hashlib
import json
import resource
import sys
import time
from pathlib import Path

import torch

from phosphene_server.errors import PhospheneError
from phosphene_server.models.importers.torchscript import importer
from phosphene_server.models.loading import load_model
from phosphene_server.models.manifest import InputManifest, Manifest
from phosphene_server.models.repository import model_source
from phosphene_server.values.model import ModelReference
from phosphene_server.values.work import ModelSource
from tests.hostile.corpus import PROOF, HostileModel, write_all
from tests.hostile.onnx_files import ONNX_FILES
from tests.hostile.program_files import TORCH_EXPORT_FILES, TORCHSCRIPT_FILES

MEMORY_BYTES = 4 * 2**30

IMPORT_SECONDS = 3.0
"""How long an import may take here, a tenth of what a service allows: three files of the corpus use it up."""

CORPUS: tuple[HostileModel, ...] = (*ONNX_FILES, *TORCHSCRIPT_FILES, *TORCH_EXPORT_FILES)


def main() -> None:
    folder = Path(sys.argv[1])
    chosen = [model for model in CORPUS if not sys.argv[2:] or model.name in sys.argv[2:]]
    paths = write_all(folder, chosen)
    limit_memory()
    importer.MAXIMUM_SECONDS = IMPORT_SECONDS
    for model in chosen:
        print(json.dumps({"name": model.name, "begun": True}), flush=True)
        print(json.dumps(outcome(model, paths[model.name])), flush=True)


def limit_memory() -> None:
    """Allow this process so much more private memory than it has; beyond that, allocations fail."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    held = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (held + MEMORY_BYTES, held + MEMORY_BYTES))


def outcome(model: HostileModel, path: Path) -> dict[str, object]:
    """Load a file as a worker does, and return what came of it, in how many seconds and bytes."""
    started = time.perf_counter()
    forget_peak()
    before = peak_bytes()
    error, text = "", ""
    try:
        load_model(source(model, path), torch.device("cpu"))
    except PhospheneError as caught:
        error, text = type(caught).__name__, str(caught)
    except BaseException as caught:  # what should not be: the test tells it
        error, text = f"not the service's own: {type(caught).__name__}", str(caught)
    return {
        "name": model.name,
        "error": error,
        "text": text,
        "seconds": time.perf_counter() - started,
        "bytes": peak_bytes() - before,
        "executed": (path.parent.parent / PROOF).exists(),
    }


def source(model: HostileModel, path: Path) -> ModelSource:
    reads = InputManifest(size=(8, 8), channel_order="rgb", layout="nchw", mean=(0.5,) * 3, std=(0.25,) * 3)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    reference = ModelReference(model.name, "1", model.format)
    return model_source(reference, path, Manifest(input=reads), folder=path.parent, sha256=digest)


def forget_peak() -> None:
    """Set the peak of resident memory back to what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()

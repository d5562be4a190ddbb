"""Files with a few bytes changed by chance load, or end in an error of the service's own, and in nothing else."""

import contextlib
import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene_server.errors import PhospheneError
from phosphene_server.models.loading import load_model
from phosphene_server.values.model import ModelFormat
from tests.hostile.corpus import FILES, HostileModel
from tests.hostile.loading import source
from tests.hostile.onnx_files import plain
from tests.hostile.program_files import exported, traced

MUTATIONS = 100
"""Of each format; a seed that failed once is worth a test of its own."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Mapping[ModelFormat, bytes]:
    writers: Mapping[ModelFormat, Callable[[Path], object]] = {
        "onnx": lambda path: path.write_bytes(plain().SerializeToString()),
        "torchscript": traced,
        "torch_export": exported,
    }
    folder = tmp_path_factory.mktemp("originals")
    for name, write in writers.items():
        write(folder / FILES[name])
    return {name: (folder / FILES[name]).read_bytes() for name in writers}


def mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """Return content with one to four bytes changed, a piece removed or a piece repeated."""
    changed = bytearray(content)
    for position in generator.integers(0, len(changed), int(generator.integers(1, 5))):
        changed[position] = int(generator.integers(0, 256))
    start, length = int(generator.integers(0, len(changed))), int(generator.integers(0, 32))
    match int(generator.integers(0, 4)):
        case 0:
            del changed[start : start + length]
        case 1:
            changed[start:start] = changed[start : start + length]
    return bytes(changed)


def mutated_entry(archive: bytes, generator: np.random.Generator) -> bytes:
    """Return an archive, its checksums right, with one entry mutated: most often one of code or of the program."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        entries = {entry.filename: source.read(entry) for entry in source.infolist()}
    telling = [name for name in entries if name.endswith((".py", ".json", ".pkl")) and entries[name]]
    chosen = telling[int(generator.integers(0, len(telling)))]
    entries[chosen] = mutated(entries[chosen], generator)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, content in entries.items():
            target.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("seed", range(MUTATIONS))
@pytest.mark.parametrize("model_format", FILES)
def test_a_mutated_file_never_breaks_the_importer(
    model_format: ModelFormat, seed: int, originals: Mapping[ModelFormat, bytes], tmp_path: Path
) -> None:
    generator = np.random.default_rng(seed)
    original = originals[model_format]
    change = mutated if model_format == "onnx" or seed % 4 == 0 else mutated_entry
    model = HostileModel("mutated", model_format, lambda path: path.write_bytes(change(original, generator)), "")
    path = tmp_path / FILES[model_format]
    model.write(path)
    with contextlib.suppress(PhospheneError):
        load_model(source(model, path), torch.device("cpu"))

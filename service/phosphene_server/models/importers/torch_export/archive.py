"""An archive of torch.export -> the program as JSON, and its tensors.

The layout is that of PyTorch 2.8 and later: `models/NAME.json` is the program; `data/weights/NAME_weights_config.json`
and `data/constants/NAME_constants_config.json` say which entry holds which tensor, as raw little-endian bytes. Tensor
subclasses and custom objects are pickled there, and the sample inputs always are: none of them is opened.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from phosphene_server.errors import DamagedModel, UnsupportedModel

SCHEMA_MAJOR = 8
"""Major version of the schema, torch/_export/serde/schema.py; 8 since PyTorch 2.5, minor versions only add to it."""

SCALAR_TYPES: Mapping[int, torch.dtype] = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""Numbers of the types in the schema, which are not those of c10."""


@dataclass(frozen=True)
class ExportedProgram:
    """What an archive holds."""

    graph: Mapping[str, Any]
    signature: Mapping[str, Any]
    output_tree: str
    """How the outputs are nested, as torch writes it."""
    torch_version: str
    tensors: Mapping[str, Tensor]
    """Parameters, buffers and constants by the author's names."""


def parse(entries: Mapping[str, bytes], *, name: str) -> ExportedProgram:
    """Read the entries of an archive.

    Args:
        entries: Contents by name, without the topmost folder.
        name: The model's name, for messages.

    Raises:
        DamagedModel: an entry is missing or contradicts another.
        UnsupportedModel: another version of the schema, several programs in one file, or pickled tensors.
    """
    program_name = _program_name(entries, name)
    document = _json(entries, f"models/{program_name}.json", name)
    version = document["schema_version"]
    if version["major"] != SCHEMA_MAJOR:
        raise UnsupportedModel(
            name, f"its schema has version {version['major']}.{version['minor']}, not {SCHEMA_MAJOR}; export it again"
        )
    if entries.get("byteorder", b"little") != b"little":
        raise UnsupportedModel(name, "its weights are big-endian")
    tensors = _tensors(entries, "data/weights/", f"{program_name}_weights_config.json", name)
    tensors |= _tensors(entries, "data/constants/", f"{program_name}_constants_config.json", name)
    module = document["graph_module"]
    return ExportedProgram(
        graph=module["graph"],
        signature=module["signature"],
        output_tree=_output_tree(module),
        torch_version=str(document.get("torch_version", "")),
        tensors=tensors,
    )


def _output_tree(module: Mapping[str, Any]) -> str:
    """Return how the outputs are nested: the model itself is among the modules whose calls are described."""
    (model,) = (entry for entry in module["module_call_graph"] if entry["fqn"] == "")
    return str(model["signature"]["out_spec"])


def _program_name(entries: Mapping[str, bytes], name: str) -> str:
    programs = [entry[len("models/") : -len(".json")] for entry in entries if _is_program(entry)]
    if not programs:
        raise DamagedModel(
            name, "this is no archive of torch.export from PyTorch 2.8 or later: it has no models/*.json"
        )
    if len(programs) > 1:
        raise UnsupportedModel(name, f"it holds several programs: {', '.join(programs)}")
    return programs[0]


def _is_program(entry: str) -> bool:
    return entry.startswith("models/") and entry.endswith(".json")


def _json(entries: Mapping[str, bytes], entry: str, name: str) -> Any:
    if entry not in entries:
        raise DamagedModel(name, f"the archive has no {entry}")
    return json.loads(entries[entry])


def _tensors(entries: Mapping[str, bytes], folder: str, configuration: str, name: str) -> dict[str, Tensor]:
    program_name = configuration.rsplit("_", 2)[0]
    if f"{folder}{program_name}.pt" in entries:
        raise UnsupportedModel(name, f"{folder}{program_name}.pt is pickled; export it again with PyTorch 2.9 or later")
    rows = _json(entries, folder + configuration, name)["config"]
    pickled = [tensor for tensor, row in rows.items() if row["use_pickle"] or not row["tensor_meta"]]
    if pickled:
        raise UnsupportedModel(name, f"unpickling would run code, and these are pickled: {', '.join(pickled[:5])}")
    return {
        tensor: _tensor(entries, folder + row["path_name"], row["tensor_meta"], name) for tensor, row in rows.items()
    }


def _tensor(entries: Mapping[str, bytes], entry: str, row: Mapping[str, Any], name: str) -> Tensor:
    """Return a tensor, which may be a part of what its entry holds."""
    if entry not in entries:
        raise DamagedModel(name, f"the archive has no {entry}")
    if row["dtype"] not in SCALAR_TYPES:
        raise UnsupportedModel(name, f"{entry} has the type of number {row['dtype']}, which the importer lacks")
    dtype = SCALAR_TYPES[row["dtype"]]
    sizes = [int(size["as_int"]) for size in row["sizes"]]
    strides = [int(stride["as_int"]) for stride in row["strides"]]
    offset = int(row["storage_offset"]["as_int"])
    stored = len(entries[entry]) // dtype.itemsize
    reach = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) + 1
    count = math.prod(sizes)
    if min([0, offset, *sizes, *strides]) < 0 or count > stored or (count > 0 and reach > stored):
        raise DamagedModel(name, f"{entry} holds {stored} numbers, too few for a tensor of shape {sizes}")
    if count == 0:
        return torch.empty(sizes, dtype=dtype)
    # The copy is writable, as torch asks of a buffer.
    flat = torch.frombuffer(bytearray(entries[entry]), dtype=dtype, count=stored)
    return flat.as_strided(sizes, strides, offset)

"""Reads an ONNX file and the data beside it, trusting neither.

Protobuf parsing runs no code. What could still do harm is external data: a path in the file that leads out of the
model's folder. Such paths (absolute, with `..`, or through a link, symbolic or hard) are refused before anything is
opened. And functions that call one another can make a short file endless: they are counted before they are inlined.
"""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx import ModelProto, NodeProto, TensorProto, external_data_helper, inliner

from phosphene_server.errors import DamagedModel
from phosphene_server.models.importers.onnx.functions import MAXIMUM_NODES
from phosphene_server.models.importers.onnx.walking import attribute_tensors, nodes_of, tensors_of


def read_model(path: Path, *, model: str) -> ModelProto:
    """Read a file with its external data; functions that it defines are inlined.

    Args:
        path: The .onnx file.
        model: The name of the model, for errors.

    Raises:
        DamagedModel: the file is missing, is no ONNX model, or its external data is missing or outside of its folder.
    """
    proto = _parsed(path, model)
    for tensor in _external_tensors(proto):
        _load_external(tensor, path.parent, model)
    return _inlined(proto, model)


def external_files(path: Path, *, model: str) -> tuple[Path, ...]:
    """Return the files beside a model that hold its weights, in the order in which it names them.

    Args:
        path: The .onnx file.
        model: The name of the model, for errors.

    Raises:
        DamagedModel: as `read_model`.
    """
    files = (_external_file(tensor, path.parent, model) for tensor in _external_tensors(_parsed(path, model)))
    return tuple(dict.fromkeys(files))


def _parsed(path: Path, model: str) -> ModelProto:
    try:
        proto = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise DamagedModel(model, f"{path.name} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # protobuf's own, which this folder does not know
        raise DamagedModel(model, f"{path.name} is not an ONNX model: {error}") from error
    if not proto.HasField("graph") or not proto.opset_import:
        raise DamagedModel(model, f"{path.name} is not an ONNX model: it has no graph or no operator set")
    for node in nodes_of(proto.graph.node):
        # protobuf hands out bytes where a file has no UTF-8
        if not all(isinstance(text, str) for text in (node.op_type, node.domain, node.name, *node.input, *node.output)):
            raise DamagedModel(model, f"{path.name} has a node whose names are not UTF-8: {node.op_type!r}")
    return proto


def _external_tensors(proto: ModelProto) -> Iterator[TensorProto]:
    tensors = itertools.chain(tensors_of(proto.graph), *(attribute_tensors(body.node) for body in proto.functions))
    return filter(external_data_helper.uses_external_data, tensors)


def _inlined(proto: ModelProto, model: str) -> ModelProto:
    if not proto.functions:
        return proto
    count = _inlined_nodes(proto)
    if count > MAXIMUM_NODES:
        raise DamagedModel(model, f"its functions make {count:.3g} nodes when they are inlined, over {MAXIMUM_NODES}")
    try:
        return inliner.inline_local_functions(proto)
    except Exception as error:  # onnx raises whatever its C++ side threw
        raise DamagedModel(model, f"its functions cannot be inlined: {error}") from error


def _inlined_nodes(proto: ModelProto) -> float:
    """Return how many nodes a graph has once its functions are inlined; infinity where one calls itself."""
    bodies = {(function.domain, function.name): function.node for function in proto.functions}

    @functools.cache
    def of(name: tuple[str, str], depth: int) -> float:
        return math.inf if depth > len(bodies) else total(bodies[name], depth)

    def total(nodes: Iterable[NodeProto], depth: int) -> float:
        names = ((node.domain, node.op_type) for node in nodes_of(nodes))
        return sum(of(name, depth + 1) if name in bodies else 1 for name in names)

    return total(proto.graph.node, 0)


def _external_file(tensor: TensorProto, folder: Path, model: str) -> Path:
    """Return the file that a tensor refers to, which is there and belongs to the model."""
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    file = _inside(folder, location)
    if file is None:
        raise DamagedModel(model, f"tensor {tensor.name!r} refers to {location!r}, outside of the model's folder")
    if not file.is_file():
        raise DamagedModel(model, f"the weights of tensor {tensor.name!r} are in {location!r}, which is not there")
    if file.stat().st_nlink > 1:
        raise DamagedModel(model, f"the weights of tensor {tensor.name!r} are in {location!r}, which is a hard link")
    return file


def _load_external(tensor: TensorProto, folder: Path, model: str) -> None:
    """Replace a reference to external data by the data."""
    file = _external_file(tensor, folder, model)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries["length"]) if "length" in entries else file.stat().st_size - offset
        if offset < 0 or length < 0 or offset + length > file.stat().st_size:
            raise ValueError(f"{offset}+{length} bytes of a file of {file.stat().st_size}")
        with file.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(length)
    except (OSError, ValueError) as error:
        raise DamagedModel(model, f"the weights of tensor {tensor.name!r} in {file.name!r}: {error}") from error
    tensor.raw_data = data
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _inside(folder: Path, location: str) -> Path | None:
    """Return the file that a location names, or None if it could lie outside of the folder."""
    parts = PurePosixPath(location).parts
    if not parts or ".." in parts or "\\" in location or "\0" in location:
        return None
    if PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive:
        return None
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            return None
    return path

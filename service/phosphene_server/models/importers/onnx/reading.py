"""Reads an ONNX file and the data beside it, trusting neither.

Protobuf parsing runs no code. What could still do harm is external data: a path in the file that leads out of the
model's folder. Such paths (absolute, with `..`, or through a symbolic link) are refused before anything is opened.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from onnx import GraphProto, ModelProto, TensorProto, external_data_helper, inliner

from phosphene_server.errors import DamagedModel


def read_model(path: Path, *, model: str) -> ModelProto:
    """Read a file with its external data; functions that it defines are inlined.

    Args:
        path: The .onnx file.
        model: The name of the model, for errors.

    Raises:
        DamagedModel: the file is missing, is no ONNX model, or its external data is missing or outside of its folder.
    """
    try:
        proto = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise DamagedModel(model, f"{path.name} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # protobuf's own, which this folder does not know
        raise DamagedModel(model, f"{path.name} is not an ONNX model: {error}") from error
    if not proto.HasField("graph") or not proto.opset_import:
        raise DamagedModel(model, f"{path.name} is not an ONNX model: it has no graph or no operator set")
    for tensor in _tensors(proto.graph):
        if external_data_helper.uses_external_data(tensor):
            _load_external(tensor, path.parent, model)
    return _inlined(proto, model)


def _inlined(proto: ModelProto, model: str) -> ModelProto:
    if not proto.functions:
        return proto
    try:
        return inliner.inline_local_functions(proto)
    except Exception as error:  # onnx raises whatever its C++ side threw
        raise DamagedModel(model, f"its functions cannot be inlined: {error}") from error


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield every tensor of a graph, those in attributes and subgraphs included."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for subgraph in (*attribute.graphs, *((attribute.g,) if attribute.HasField("g") else ())):
                yield from _tensors(subgraph)


def _load_external(tensor: TensorProto, folder: Path, model: str) -> None:
    """Replace a reference to external data by the data."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    file = _inside(folder, location)
    if file is None:
        raise DamagedModel(model, f"tensor {tensor.name!r} refers to {location!r}, outside of the model's folder")
    if not file.is_file():
        raise DamagedModel(model, f"the weights of tensor {tensor.name!r} are in {location!r}, which is not there")
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries["length"]) if "length" in entries else file.stat().st_size - offset
        if offset < 0 or length < 0 or offset + length > file.stat().st_size:
            raise ValueError(f"{offset}+{length} bytes of a file of {file.stat().st_size}")
        with file.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(length)
    except (OSError, ValueError) as error:
        raise DamagedModel(model, f"the weights of tensor {tensor.name!r} in {location!r}: {error}") from error
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

"""The model without its weights: enough for the checker and for type inference, at any size of the weights."""

from collections.abc import Mapping
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, checker, helper, shape_inference

from phosphene_server.errors import DamagedModel

SMALL = 1024
"""Tensors up to this many elements stay: shapes, axes and the like, which inference reads."""


@dataclass(frozen=True)
class ValueType:
    """What is known of an ONNX value before it is computed."""

    element_type: int
    shape: tuple[int | None, ...] | None
    """Lengths as the file gives or implies them, None where unknown; None if even the rank is unknown."""


def check(model: ModelProto, *, name: str) -> ModelProto:
    """Check a model against the ONNX specification and return its skeleton.

    Raises:
        DamagedModel: it violates the specification: cyclic or unsorted nodes, values defined twice, wrong attributes.
    """
    skeleton = _skeleton(model)
    try:
        checker.check_model(_with_all_types(skeleton))
    except (checker.ValidationError, ValueError, TypeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DamagedModel(name, f"it violates the ONNX specification: {first}") from error
    return skeleton


def infer_types(skeleton: ModelProto) -> Mapping[str, ValueType]:
    """Return the types of all values that can be inferred.

    Lengths are those of the shapes that the file declares; the graph must not rely on them, since it is evaluated at
    other batch and picture sizes too. Types and ranks are reliable.
    """
    try:
        inferred = shape_inference.infer_shapes(skeleton, data_prop=True)
    except Exception:  # onnx raises what its C++ side threw; handlers do without types then
        inferred = skeleton
    graph = inferred.graph
    types = {tensor.name: ValueType(tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer}
    for information in (*graph.input, *graph.output, *graph.value_info):
        if information.type.HasField("tensor_type"):
            types[information.name] = value_type(information)
    return types


def value_type(information: ValueInfoProto) -> ValueType:
    """Return the type of a tensor value."""
    tensor = information.type.tensor_type
    if not tensor.HasField("shape"):
        return ValueType(tensor.elem_type, None)
    lengths = tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim)
    return ValueType(tensor.elem_type, lengths)


def _skeleton(model: ModelProto) -> ModelProto:
    """Copy a model, with large weights turned into inputs."""
    source = model.graph
    graph = GraphProto(name=source.name)
    for field in ("node", "input", "output", "value_info"):
        getattr(graph, field).extend(getattr(source, field))
    graph.sparse_initializer.extend(source.sparse_initializer)
    inputs = {value.name for value in source.input}
    for tensor in source.initializer:
        if _volume(tensor) <= SMALL:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    skeleton = ModelProto(ir_version=model.ir_version, graph=graph)
    skeleton.opset_import.extend(model.opset_import)
    skeleton.producer_name = model.producer_name
    return skeleton


def _with_all_types(skeleton: ModelProto) -> ModelProto:
    """Return a copy whose inputs and outputs have some type: files may leave it out, and ONNX Runtime infers it."""
    complete = ModelProto()
    complete.CopyFrom(skeleton)
    del complete.graph.value_info[:]
    for value in (*complete.graph.input, *complete.graph.output):
        if value.type.WhichOneof("value") in (None, "tensor_type"):
            value.type.tensor_type.elem_type = value.type.tensor_type.elem_type or TensorProto.FLOAT
            value.type.tensor_type.shape.SetInParent()
    return complete


def _volume(tensor: TensorProto) -> int:
    volume = 1
    for length in tensor.dims:
        volume *= length
    return volume

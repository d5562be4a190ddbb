"""The model without its weights: enough for the checker and for type inference, at any size of the weights."""

import math
from collections.abc import Iterator, Mapping

from onnx import GraphProto, ModelProto, TensorProto, TypeProto, checker, helper, numpy_helper, shape_inference

from phosphene_server.errors import DamagedModel, first_line
from phosphene_server.models.importers.onnx.walking import STANDARD_DOMAINS, nodes_of, subgraphs

SMALL_TENSOR = 1024
"""Tensors up to this many elements stay: shapes, axes and the like, which inference reads."""

LARGEST_ARRAY = 2**20
"""Elements of a computed array up to which inference may follow values: it is not interruptible, and a node of a few
bytes can ask it for terabytes."""


ACCEPTED: Mapping[str, range] = {"GroupNormalization": range(18, 21), "LayerNormalization": range(1, 17)}
"""Operators -> operator sets in which the specification does not have them but files do, as ONNX Runtime accepts them:
the first was withdrawn after it had been in use, the second is what its optimizer makes of older files."""

ACCEPTED_DOMAIN = "phosphene.accepted"
"""The domain in which the checker sees them; it lets domains pass that it does not know."""


def check(skeleton: ModelProto, *, name: str) -> None:
    """Check the skeleton of a model against the ONNX specification.

    Raises:
        DamagedModel: it violates the specification: cyclic or unsorted nodes, values defined twice, wrong attributes.
    """
    try:
        checker.check_model(_checkable(skeleton))
    except (checker.ValidationError, ValueError, TypeError) as error:
        raise DamagedModel(name, f"it violates the ONNX specification: {first_line(error)}") from error


def infer_types(skeleton: ModelProto) -> Mapping[str, TypeProto]:
    """Return the types of all values that can be inferred, those in subgraphs included.

    Two branches can use one name for different things; such a name is left out.
    """
    try:
        follows_values = _largest_array(skeleton.graph) <= LARGEST_ARRAY
        inferred = shape_inference.infer_shapes(skeleton, data_prop=follows_values)
    except Exception:  # onnx raises what its C++ side threw; handlers do without types then
        inferred = skeleton
    types: dict[str, TypeProto] = {}
    ambiguous: set[str] = set()
    for name, inferred_type in _typed_values(inferred.graph):
        if types.setdefault(name, inferred_type) != inferred_type:
            ambiguous.add(name)
    return {name: inferred_type for name, inferred_type in types.items() if name not in ambiguous}


def _largest_array(graph: GraphProto) -> float:
    """Return a bound on the elements of the arrays whose values inference would follow, subgraphs included.

    It follows Range and Concat, which make arrays longer, and operators that do not.
    """
    lengths: dict[str, float] = {}
    numbers: dict[str, float] = {}
    largest = 0.0
    for name, tensor in _small_constants(graph):
        lengths[name] = _volume(tensor)
        if lengths[name] == 1 and tensor.data_type in (TensorProto.INT32, TensorProto.INT64):
            numbers[name] = float(numpy_helper.to_array(tensor).item())
    for node in graph.node:
        known = [lengths.get(name, 1.0) for name in node.input]
        length = sum(known) if node.op_type == "Concat" else max(known, default=1.0)
        if node.op_type == "Range" and len(node.input) == 3:
            start, limit, step = (numbers.get(name, 1.0) for name in node.input)
            length = abs((limit - start) / (step or 1.0))
        lengths |= {name: length for name in node.output if name not in lengths}
        largest = max([largest, length, *map(_largest_array, subgraphs(node))])
    return largest


def _small_constants(graph: GraphProto) -> Iterator[tuple[str, TensorProto]]:
    """Yield the initializers of a skeleton and the values of its Constant nodes."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield node.output[0], attribute.t


def _typed_values(graph: GraphProto) -> Iterator[tuple[str, TypeProto]]:
    """Yield names and types of the values of a graph and its subgraphs."""
    for tensor in graph.initializer:
        yield tensor.name, helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    stored = {tensor.name for tensor in graph.initializer}
    for information in (*graph.input, *graph.output, *graph.value_info):
        if information.name not in stored and information.type.WhichOneof("value") is not None:
            yield information.name, information.type
    for node in graph.node:
        for subgraph in subgraphs(node):
            yield from _typed_values(subgraph)


def skeleton_of(model: ModelProto) -> ModelProto:
    """Return a copy of a model, with large weights turned into inputs."""
    source = model.graph
    graph = GraphProto(name=source.name)
    for field in ("node", "input", "output", "value_info"):
        getattr(graph, field).extend(getattr(source, field))
    graph.sparse_initializer.extend(source.sparse_initializer)
    inputs = {value.name for value in source.input}
    for tensor in source.initializer:
        if _volume(tensor) <= SMALL_TENSOR:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    skeleton = ModelProto(ir_version=model.ir_version, graph=graph)
    skeleton.opset_import.extend(model.opset_import)
    skeleton.producer_name = model.producer_name
    return skeleton


def _checkable(skeleton: ModelProto) -> ModelProto:
    """Return a copy without what ONNX Runtime accepts and the checker does not.

    Files may leave out the types of inputs and outputs, and use ACCEPTED.
    """
    complete = ModelProto()
    complete.CopyFrom(skeleton)
    del complete.graph.value_info[:]
    for value in (*complete.graph.input, *complete.graph.output):
        if value.type.WhichOneof("value") in (None, "tensor_type"):
            value.type.tensor_type.elem_type = value.type.tensor_type.elem_type or TensorProto.FLOAT
            value.type.tensor_type.shape.SetInParent()
    versions = {entry.version for entry in skeleton.opset_import if entry.domain in STANDARD_DOMAINS}
    for node in nodes_of(complete.graph.node):
        if node.domain in STANDARD_DOMAINS and versions.intersection(ACCEPTED.get(node.op_type, ())):
            node.domain = ACCEPTED_DOMAIN
    complete.opset_import.add(domain=ACCEPTED_DOMAIN, version=1)
    return complete


def _volume(tensor: TensorProto) -> int:
    return math.prod(tensor.dims)

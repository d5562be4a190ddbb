"""From a checked model to a ModelGraph: inputs, nodes, outputs, layers."""

from collections.abc import Mapping

from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto
from torch import fx

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx.naming import name_layers
from phosphene_server.models.importers.onnx.nodes import ONNX_OUTPUT, ModelFacts, NodeTranslation
from phosphene_server.models.importers.onnx.operators.casting import as_integers
from phosphene_server.models.importers.onnx.subgraphs import erase_unused
from phosphene_server.models.importers.onnx.tensors import QUANTIZED, type_name
from phosphene_server.models.importers.onnx.value_types import ValueType, type_of
from phosphene_server.models.importers.onnx.values import Value
from phosphene_server.values.model import TensorSpecification

INPUT_KINDS = ("tensor_type", "sequence_type", "optional_type")
"""The kinds of values that a graph takes; a sequence is a list, an optional a value or None."""


def translate(proto: ModelProto, types: Mapping[str, ValueType], *, opset: int, name: str) -> ModelGraph:
    """Translate a model whose operators all have handlers.

    Raises:
        DamagedModel: a tensor or node cannot be read.
        UnsupportedModel: a node uses its operator in a way that is not supported.
    """
    graph = proto.graph
    stored = {tensor.name for tensor in graph.initializer} | {sparse.values.name for sparse in graph.sparse_initializer}
    # Files before IR version 4 list initializers among the inputs.
    inputs = [value for value in graph.input if value.name not in stored]
    specifications = [_specification(value.name, type_of(value.type)) for value in inputs]
    facts = ModelFacts(name, proto.producer_name, opset, types, _batch(specifications))
    builder = GraphBuilder()
    nodes = NodeTranslation(facts, builder, _inputs(builder, inputs, name))
    nodes.read_initializers(graph)
    for node in graph.node:
        nodes.translate(node)
    return _built(nodes, graph, specifications, producer=f"{proto.producer_name} {proto.producer_version}".strip())


def _inputs(builder: GraphBuilder, inputs: list[ValueInfoProto], name: str) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for value in inputs:
        if value.type.WhichOneof("value") not in (*INPUT_KINDS, None):
            raise UnsupportedModel(name, f"its input {value.name!r} is neither a tensor nor a sequence of tensors")
        node = builder.input(value.name)
        node.meta[ONNX_OUTPUT] = value.name
        values[value.name] = node
    return values


def _batch(inputs: list[TensorSpecification]) -> int | None:
    first = inputs[0].shape if inputs else ()
    return first[0] if first and first[0] > 0 else None


def _built(
    nodes: NodeTranslation, graph: GraphProto, inputs: list[TensorSpecification], *, producer: str
) -> ModelGraph:
    """Name the layers and close the graph."""
    names = [value.name for value in graph.output]
    outputs = [_output(nodes, name) for name in names]
    name_layers(nodes.builder, nodes.activations, map(nodes.layer_of, names))
    layers = {activation.node for activation in nodes.activations if not activation.hidden}
    erase_unused(nodes.builder.graph, {*outputs, *layers})
    types = nodes.facts.types
    return nodes.builder.build(
        outputs,
        input_specifications=inputs,
        output_specifications=[
            _specification(value.name, types.get(value.name, type_of(value.type))) for value in graph.output
        ],
        producer=producer,
    )


def _output(nodes: NodeTranslation, name: str) -> fx.Node:
    """Return an output as a node; quantized numbers are held as floating-point ones until here."""
    node, known = nodes.node_of(name), nodes.facts.types.get(name)
    if known is None or not known.is_tensor or known.element_type not in QUANTIZED:
        return node
    return nodes.builder.call(as_integers, node, known.element_type)


def _specification(name: str, value: ValueType) -> TensorSpecification:
    known = value.element_type != TensorProto.UNDEFINED
    lengths = tuple(-1 if length is None or length < 1 else length for length in value.shape or ())
    return TensorSpecification(name, type_name(value.element_type) if known else "float32", lengths)

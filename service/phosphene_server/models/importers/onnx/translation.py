"""Walks the nodes of an ONNX graph through the table of operators."""

from collections.abc import Mapping, Sequence

from onnx import GraphProto, ModelProto, NodeProto, TensorProto
from torch import Tensor, fx

from phosphene_server.errors import DamagedModel, PhospheneError, UnsupportedModel
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx.naming import Activation, name_layers, place_of
from phosphene_server.models.importers.onnx.operation import Constants, Operation
from phosphene_server.models.importers.onnx.operators import OPERATORS
from phosphene_server.models.importers.onnx.sizes import size_handler
from phosphene_server.models.importers.onnx.skeleton import ValueType, value_type
from phosphene_server.models.importers.onnx.tensors import FLOATING, read_tensor, type_name
from phosphene_server.models.importers.onnx.values import Sizes, Value
from phosphene_server.values.model import TensorSpecification

ONNX_OUTPUT = "onnx_output"
"""Key of `fx.Node.meta` under which a node has the name that its value has in the file."""


class Translation:
    """The graph as far as it is built, and the ONNX values that it has so far."""

    def __init__(self, proto: ModelProto, types: Mapping[str, ValueType], *, opset: int, name: str) -> None:
        self.proto = proto
        self.types = types
        self.opset = opset
        self.name = name
        self.builder = GraphBuilder()
        self.constants = Constants(self.builder)
        self.values: dict[str, Value] = {}
        self.activations: list[Activation] = []
        self.batch: int | None = None

    def run(self) -> ModelGraph:
        """Translate the whole graph.

        Raises:
            DamagedModel: a tensor or node cannot be read.
            UnsupportedModel: a node uses its operator in a way that is not supported.
        """
        graph = self.proto.graph
        self._read_initializers(graph)
        inputs = self._read_inputs(graph)
        for node in graph.node:
            self._translate(node)
        outputs = [self._output(value.name) for value in graph.output]
        name_layers(self.builder, self.activations, [value.name for value in graph.output])
        _erase_unused(self.builder.graph, {*outputs, *(activation.node for activation in self.activations)})
        return self.builder.build(
            outputs,
            input_specifications=inputs,
            output_specifications=[
                _specification(value.name, self.types.get(value.name, value_type(value))) for value in graph.output
            ],
            producer=f"{self.proto.producer_name} {self.proto.producer_version}".strip(),
        )

    def _read_initializers(self, graph: GraphProto) -> None:
        if graph.sparse_initializer:
            raise UnsupportedModel(self.name, "it has sparse tensors")
        for proto in graph.initializer:
            try:
                tensor = read_tensor(proto)
            except (ValueError, TypeError, OverflowError) as error:
                raise DamagedModel(self.name, f"tensor {proto.name!r} cannot be read: {error}") from error
            self.constants.name(tensor, proto.name)
            self.values[proto.name] = tensor

    def _read_inputs(self, graph: GraphProto) -> list[TensorSpecification]:
        specifications = []
        for value in graph.input:
            if value.name in self.values:
                continue  # files before IR version 4 list initializers among the inputs
            if not value.type.HasField("tensor_type"):
                raise UnsupportedModel(self.name, f"its input {value.name!r} is not a tensor")
            node = self.builder.input(value.name)
            node.meta[ONNX_OUTPUT] = value.name
            self.values[value.name] = node
            specifications.append(_specification(value.name, value_type(value)))
        first = specifications[0].shape if specifications else ()
        self.batch = first[0] if first and first[0] > 0 else None
        return specifications

    def _translate(self, node: NodeProto) -> None:
        kind, handler = OPERATORS[node.op_type]
        try:
            inputs = [self.values[name] if name else None for name in node.input]
            types = [self.types.get(name) for name in node.input]
            operation = self._operation(node, kind, inputs, types)
            on_sizes = size_handler(operation)
            result = on_sizes(operation) if on_sizes is not None else None
            results = handler(operation) if result is None else result
        except PhospheneError:
            raise
        except Exception as error:  # whatever a wrong attribute or shape does to torch
            detail = f"node {node.name or list(node.output)} ({node.op_type}): {type(error).__name__}: {error}"
            raise DamagedModel(self.name, detail) from error
        self._keep(operation, results if isinstance(results, tuple) else (results,))

    def _operation(
        self, node: NodeProto, kind: str, inputs: Sequence[Value | None], types: Sequence[ValueType | None]
    ) -> Operation:
        return Operation(
            node,
            inputs,
            types,
            kind=kind,
            opset=self.opset,
            model=self.name,
            constants=self.constants,
            batch=self.batch,
        )

    def _keep(self, operation: Operation, results: tuple[Value, ...]) -> None:
        """Note the outputs of a node, and which of them are activations."""
        node = operation.node
        for index, tensor in enumerate(node.output):
            if not tensor:
                continue
            if index >= len(results):
                raise operation.unsupported(f"its output {index}")
            value = results[index]
            self.values[tensor] = value
            if isinstance(value, Tensor):
                self.constants.name(value, tensor)
            elif isinstance(value, fx.Node) and value.op == "call_function" and self._is_floating(tensor):
                value.meta.setdefault(ONNX_OUTPUT, tensor)
                self.activations.append(self._activation(operation, value, tensor, first=index == 0))

    def _activation(self, operation: Operation, value: fx.Node, tensor: str, *, first: bool) -> Activation:
        node = operation.node
        weight = next((name for name in node.input[1:] if isinstance(self.values.get(name), Tensor)), None)
        scopes, name = place_of(node, tensor, producer=self.proto.producer_name, weight=weight)
        return Activation(
            tensor,
            value,
            operation.kind,
            scopes,
            name if first else tensor,
            parameters=tuple(operation.parameters),
            filters=operation.filters,
            sources=tuple(node.input),
        )

    def _is_floating(self, tensor: str) -> bool:
        known = self.types.get(tensor)
        return known is None or known.element_type == TensorProto.UNDEFINED or known.element_type in FLOATING

    def _output(self, name: str) -> fx.Node:
        value = self.values.get(name)
        if value is None:
            raise DamagedModel(self.name, f"no node computes the output {name!r}")
        if isinstance(value, fx.Node):
            return value
        operation = self._operation(NodeProto(output=[name]), "output", (), ())
        return operation.materialized(value) if isinstance(value, Sizes) else operation.placed(value)


def _specification(name: str, value: ValueType) -> TensorSpecification:
    known = value.element_type != TensorProto.UNDEFINED
    lengths = tuple(-1 if length is None or length < 1 else length for length in value.shape or ())
    return TensorSpecification(name, type_name(value.element_type) if known else "float32", lengths)


def _erase_unused(graph: fx.Graph, kept: set[fx.Node]) -> None:
    """Erase what neither an output nor a layer needs: mostly lengths of axes that nobody asked for."""
    for node in reversed(list(graph.nodes)):
        if node.op in ("call_function", "get_attr") and not node.users and node not in kept:
            graph.erase_node(node)

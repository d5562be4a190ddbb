"""Translates the nodes of a graph, one after the other, through the table of operators."""

from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace

from onnx import GraphProto, NodeProto, SparseTensorProto, TensorProto
from torch import Tensor, fx

from phosphene_server.errors import DamagedModel, PhospheneError
from phosphene_server.models.builder import KIND, GraphBuilder
from phosphene_server.models.importers.onnx.arguments import KnownAtRunTime
from phosphene_server.models.importers.onnx.constants import Constants
from phosphene_server.models.importers.onnx.functions import is_inside_function, operator_set
from phosphene_server.models.importers.onnx.late import translate_late
from phosphene_server.models.importers.onnx.naming import DEQUANTIZED, Activation, place_of, unused_name
from phosphene_server.models.importers.onnx.operation import Handler, Operation
from phosphene_server.models.importers.onnx.operators import OPERATORS
from phosphene_server.models.importers.onnx.sizes import size_handler
from phosphene_server.models.importers.onnx.sparse import read_sparse_tensor
from phosphene_server.models.importers.onnx.subgraphs import Body, CapturedValues, module_of
from phosphene_server.models.importers.onnx.tensors import FLOATING, read_tensor
from phosphene_server.models.importers.onnx.value_types import ValueType
from phosphene_server.models.importers.onnx.values import Value

ONNX_OUTPUT = "onnx_output"
"""Key of `fx.Node.meta` under which a node has the name that its value has in the file."""


@dataclass(frozen=True)
class ModelFacts:
    """What every node of a model may need to know."""

    name: str
    producer: str
    opset: int
    types: Mapping[str, ValueType]
    batch: int | None
    """The batch size that the file fixes, None where it leaves it open."""


class NodeTranslation:
    """The values and activations of one graph so far."""

    def __init__(
        self,
        facts: ModelFacts,
        builder: GraphBuilder,
        values: MutableMapping[str, Value],
        *,
        outer: "NodeTranslation | None" = None,
    ) -> None:
        """Begin a graph.

        Args:
            facts: What is known of the model.
            builder: What nodes are added to.
            values: The values that nodes can read, by name; outputs are added to them.
            outer: The graph that this one is inlined into, which shares the builder.
        """
        self.facts = facts
        self.builder = builder
        self.values = values
        self.constants: Constants = outer.constants if outer is not None else Constants(builder)
        self.activations: list[Activation] = outer.activations if outer is not None else []
        self._inlined = outer is not None
        self._keys: dict[fx.Node, str] = outer._keys if outer is not None else {}
        self._sources: MutableMapping[str, str] = ChainMap({}, outer._sources) if outer is not None else {}

    def read_initializers(self, graph: GraphProto) -> None:
        """Take the tensors that a graph stores.

        Raises:
            DamagedModel: one of them cannot be read.
        """
        for proto in graph.initializer:
            self._initialize(proto.name, proto)
        for sparse in graph.sparse_initializer:
            self._initialize(sparse.values.name, sparse)

    def _initialize(self, name: str, proto: TensorProto | SparseTensorProto) -> None:
        try:
            tensor = read_tensor(proto) if isinstance(proto, TensorProto) else read_sparse_tensor(proto)
        except (ValueError, TypeError, OverflowError) as error:
            raise DamagedModel(self.facts.name, f"tensor {name!r} cannot be read: {error}") from error
        self.constants.name(tensor, name)
        self.values[name] = tensor

    def translate(self, node: NodeProto) -> None:
        """Translate one node.

        Raises:
            DamagedModel: its inputs or attributes make no sense.
            UnsupportedModel: it uses its operator in a way that is not supported.
        """
        kind, handler = OPERATORS[node.op_type]
        try:
            inputs = [self.values[name] if name else None for name in node.input]
            operation = self.operation(node, kind, inputs)
            results = self._results(operation, handler)
        except PhospheneError:
            raise
        except Exception as error:  # whatever a wrong attribute or shape does to torch
            detail = f"node {node.name or list(node.output)} ({node.op_type}): {type(error).__name__}: {error}"
            raise DamagedModel(self.facts.name, detail) from error
        self._keep(operation, results if isinstance(results, tuple) else (results,))

    def operation(self, node: NodeProto, kind: str, inputs: Sequence[Value | None]) -> Operation:
        """Return a node as its handler sees it."""
        scopes, _ = self._place(node, next(iter(node.output), ""))
        return Operation(
            node,
            inputs,
            [self.facts.types.get(name) for name in node.input],
            kind=kind,
            opset=operator_set(node) or self.facts.opset,
            model=self.facts.name,
            constants=self.constants,
            module=scopes[-1] if scopes else "",
            batch=self.facts.batch,
            scope=self,
        )

    def output(self, name: str) -> Value:
        """Return an output of the graph.

        Raises:
            DamagedModel: no node computes it.
        """
        try:
            return self.values[name]
        except KeyError:
            raise DamagedModel(self.facts.name, f"no node computes the output {name!r}") from None

    def node_of(self, name: str) -> fx.Node:
        """Return an output of the graph as an fx node."""
        return self.operation(NodeProto(output=[name]), "output", ()).node_of(self.output(name))

    def layer_of(self, tensor: str) -> str:
        """Return the tensor under which the layer is kept whose value a tensor of the file is."""
        return self._sources.get(tensor, tensor)

    # Subgraphs: this is the Scope of the operations here

    def inlined(self, graph: GraphProto) -> tuple[Value, ...]:
        """Translate a subgraph without inputs in place and return its outputs."""
        inner = NodeTranslation(self.facts, self.builder, ChainMap({}, self.values), outer=self)
        inner._translate_all(graph)
        return tuple(inner.output(value.name) for value in graph.output)

    def body(self, graph: GraphProto) -> Body:
        """Translate a subgraph into a module of its own."""
        builder = GraphBuilder()
        values = CapturedValues(self.values, builder)
        inner = NodeTranslation(self.facts, builder, values)
        for value in graph.input:
            values.own_input(value.name)
        inner._translate_all(graph)
        outputs = tuple(inner.node_of(value.name) for value in graph.output)
        types = tuple(self.facts.types.get(value.name) for value in graph.output)
        return Body(module_of(builder, outputs), values.captures, types)

    def _translate_all(self, graph: GraphProto) -> None:
        self.read_initializers(graph)
        for node in graph.node:
            self.translate(node)

    # One node

    def _results(self, operation: Operation, handler: Handler) -> Value | tuple[Value, ...]:
        try:
            result = _on_sizes(operation)
            return handler(operation) if result is None else result
        except KnownAtRunTime:
            return translate_late(operation, handler)

    def _keep(self, operation: Operation, results: tuple[Value, ...]) -> None:
        """Note the outputs of a node, and which of them are activations."""
        for index, tensor in enumerate(operation.node.output):
            if not tensor:
                continue
            if index >= len(results):
                raise operation.unsupported(f"its output {index}")
            value = results[index]
            self.values[tensor] = value
            if isinstance(value, Tensor):
                self.constants.name(value, tensor.removesuffix(DEQUANTIZED))
                continue
            if isinstance(value, fx.Node):
                value.meta.setdefault(KIND, operation.kind)
            if isinstance(value, fx.Node) and value.op != "placeholder" and self._is_activation(operation, tensor):
                self._keep_activation(operation, value, tensor, first=index == 0)
            elif operation.kind == "quantization":
                self._sources[tensor] = self.layer_of(operation.node.input[0])

    def _keep_activation(self, operation: Operation, value: fx.Node, tensor: str, *, first: bool) -> None:
        node = operation.node
        inner = is_inside_function(node)
        if not self._inlined and not inner:
            value.meta.setdefault(ONNX_OUTPUT, tensor)
        if node.op_type == "If" and value in self._keys:
            self._sources[tensor] = self._keys[value]  # the layer is the operation in the branch
            return
        if operation.kind == "dequantization" and self._keep_dequantized(node, value, tensor):
            return
        key = unused_name(tensor, set(self._keys.values())) if self._inlined else tensor
        self._keys[value] = self._sources[tensor] = key
        scopes, name = self._place(node, key)
        activation = Activation(
            key,
            value,
            operation.kind,
            scopes,
            name if first else key,
            parameters=tuple(operation.parameters),
            filters=operation.filters,
            sources=tuple(self.layer_of(source) for source in node.input),
            hidden=inner,
        )
        self.activations.append(activation)

    def _place(self, node: NodeProto, output: str) -> tuple[tuple[str, ...], str]:
        """Return the modules of a node, and what its output is called within them."""
        return place_of(node, output, producer=self.facts.producer, weight=self._weight(node))

    def _keep_dequantized(self, node: NodeProto, value: fx.Node, tensor: str) -> bool:
        """Let a dequantized value be that of the layer or input that was quantized; return whether there is one.

        Who quantizes a network adds nodes between the author's, and may move the author's; to whoever looks at the
        network, what they give is the value of the operation before them.
        """
        source = self.layer_of(node.input[0])
        given = self.values.get(source)
        if isinstance(given, fx.Node) and given.op == "placeholder":
            self._sources[tensor] = source
            return True
        places = (place for place, activation in enumerate(self.activations) if activation.tensor == source)
        place = next(places, None)
        if place is None:
            return False
        self._keys[value] = self._sources[tensor] = source
        if self.activations[place].node.meta[KIND] != "dequantization":
            self.activations[place] = replace(self.activations[place], node=value)
        return True

    def _weight(self, node: NodeProto) -> str | None:
        """Return the name of the first trained tensor that a node reads."""
        return next((name for name in node.input[1:] if name and isinstance(self.values[name], Tensor)), None)

    def _is_activation(self, operation: Operation, tensor: str) -> bool:
        """Return whether a value can be a layer: quantized convolutions have integers, which gradients pass."""
        return operation.filters is not None or self._is_floating(tensor)

    def _is_floating(self, tensor: str) -> bool:
        known = self.facts.types.get(tensor)
        if known is None or known.element_type == TensorProto.UNDEFINED:
            return known is None or known.is_tensor
        return known.element_type in FLOATING


def _on_sizes(operation: Operation) -> Value | None:
    """Return the result of shape arithmetic, None where an operation is none or needs what is not known yet."""
    on_sizes = size_handler(operation)
    try:
        return on_sizes(operation) if on_sizes is not None else None
    except KnownAtRunTime:
        return None

"""Subgraphs: a branch or the body of a loop as a module, and the values of the graphs around it that it reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from onnx import GraphProto
from torch import fx

from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.importers.onnx.value_types import ValueType
from phosphene_server.models.importers.onnx.values import Items, Sizes, Value, sizes


@dataclass(frozen=True)
class Body:
    """A subgraph as a module of its own."""

    module: fx.GraphModule
    """Takes the subgraph's own inputs and then the captured values; gives the tuple of its outputs."""
    captures: tuple[fx.Node, ...]
    """The values of the graphs around it that it reads."""
    outputs: tuple[ValueType | None, ...]
    """What is known of its outputs."""


class Scope(Protocol):
    """Where a node stands: what translates its subgraphs."""

    def inlined(self, graph: GraphProto) -> tuple[Value, ...]:
        """Translate a subgraph without inputs in place and return its outputs."""

    def body(self, graph: GraphProto) -> Body:
        """Translate a subgraph into a module of its own."""


class CapturedValues(dict[str, Value]):
    """The values of a subgraph, and those of the graphs around it as soon as they are asked for.

    Constants are the same inside and outside. What is computed outside becomes an input of the module.
    """

    def __init__(self, outer: Mapping[str, Value], builder: GraphBuilder) -> None:
        super().__init__()
        self._outer = outer
        self._builder = builder
        self._inputs: dict[fx.Node, fx.Node] = {}
        self._last: fx.Node | None = None

    @property
    def captures(self) -> tuple[fx.Node, ...]:
        """The nodes outside whose values the module takes, in the order of its last inputs."""
        return tuple(self._inputs)

    def own_input(self, name: str) -> fx.Node:
        """Add an input of the subgraph itself; all of them come before anything is captured."""
        self._last = self._builder.input(name)
        self[name] = self._last
        return self._last

    def __missing__(self, name: str) -> Value:
        value = self._inside(self._outer[name])
        self[name] = value
        return value

    def _inside(self, value: Value) -> Value:
        if isinstance(value, fx.Node):
            return self._captured(value)
        if isinstance(value, Items):
            return Items(tuple(self._inside(element) for element in value.elements))
        if isinstance(value, Sizes):
            elements = value.elements.copy()
            for place, element in enumerate(elements.flat):
                if isinstance(element, fx.Node):
                    elements.flat[place] = self._captured(element)
            return sizes(elements, value.dtype)
        return value

    def _captured(self, node: fx.Node) -> fx.Node:
        if node not in self._inputs:
            graph = self._builder.graph
            place = graph.inserting_after(self._last) if self._last is not None else graph.inserting_before(None)
            with place:
                self._last = self._builder.input(f"captured_{len(self._inputs)}")
            self._inputs[node] = self._last
        return self._inputs[node]


def module_of(builder: GraphBuilder, outputs: tuple[fx.Node, ...]) -> fx.GraphModule:
    """Close the graph of a subgraph; nodes that no output needs go."""
    erase_unused(builder.graph, set(outputs))
    builder.graph.output(outputs)
    module = fx.GraphModule(builder.root, builder.graph)
    module.eval()
    return module


def erase_unused(graph: fx.Graph, kept: set[fx.Node]) -> None:
    """Erase what neither an output nor a layer needs: mostly lengths of axes that nobody asked for."""
    for node in reversed(list(graph.nodes)):
        if node.op != "placeholder" and not node.users and node not in kept:
            graph.erase_node(node)

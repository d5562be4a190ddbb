"""One ONNX node on its way into the graph: what a handler reads, and how it emits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import FilterGeometry
from phosphene_server.models.importers.onnx.skeleton import ValueType
from phosphene_server.models.importers.onnx.tensors import ELEMENT_TYPES, FLOATING, read_tensor
from phosphene_server.models.importers.onnx.values import (
    MAXIMUM_CONSTANT,
    Items,
    Nothing,
    Sizes,
    Value,
    sizes_tensor,
)

Numbers = list[Any] | fx.Node
"""Numbers of a shape-like input, each known or an fx node; one fx node where even how many is unknown."""


class KnownAtRunTime(Exception):
    """A handler needs something that only an evaluation knows; its node is then translated at evaluation (late.py)."""

    def __init__(self, detail: str, index: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        """What is not known, as a phrase: `axes that are computed at run time`."""
        self.index = index
        """The input whose values are needed; None where its rank or shape is enough."""


class Constants:
    """The tensors that are known at import, and where those that the graph reads are kept in it."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self._names: dict[int, str] = {}
        self._named: list[Tensor] = []
        self._placed: dict[int, fx.Node] = {}
        self._tensors: set[tuple[str, ...]] = set()
        self._modules: set[tuple[str, ...]] = set()

    def name(self, tensor: Tensor, name: str) -> None:
        """Give a tensor the name under which it will be kept; the first name stays."""
        if id(tensor) not in self._names:
            self._names[id(tensor)] = name
            self._named.append(tensor)  # alive as long as its id is a key

    def name_of(self, tensor: Tensor) -> str | None:
        """Return the name of a tensor, None for one that was computed on the way."""
        return self._names.get(id(tensor))

    def place(self, tensor: Tensor, name: str) -> fx.Node:
        """Return a node that reads the tensor. `name` is for one that has no name yet."""
        self.name(tensor, name)
        if id(tensor) not in self._placed:
            value = tensor.to(torch.float32) if tensor.is_floating_point() else tensor
            self._placed[id(tensor)] = self.builder.tensor(self.unused(self._names[id(tensor)]), value)
        return self._placed[id(tensor)]

    def reference(self) -> fx.Node:
        """Return a node whose tensor has the device and floating-point type of the graph, whatever it is moved to."""
        if not hasattr(self, "_reference"):
            self._reference = torch.zeros(())
        return self.place(self._reference, "floating_point_reference")

    def unused(self, name: str) -> str:
        """Return a name whose place in the tree of modules is free.

        Different names of the file can spell the same place (`a/b` and `a_b`), and `a` cannot be a tensor where `a.b`
        makes it a module.
        """
        candidate, count = name, 0
        while True:
            path = tuple(_plain(part) for part in candidate.split("."))
            inner = {path[:depth] for depth in range(1, len(path))}
            if path not in self._tensors and path not in self._modules and inner.isdisjoint(self._tensors):
                self._tensors.add(path)
                self._modules |= inner
                return candidate
            count += 1
            # Without dots, since it may be the module that the name would be in that is not free.
            candidate = f"{name.replace('.', '_')}_{count}"


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
    """Where a node stands, for operators that have subgraphs."""

    def inlined(self, graph: GraphProto) -> tuple[Value, ...]:
        """Translate a subgraph without inputs in place and return its outputs."""

    def body(self, graph: GraphProto) -> Body:
        """Translate a subgraph into a module of its own."""


class Operation:
    """One ONNX node: its inputs and attributes, and what its handler says of the layer."""

    def __init__(
        self,
        node: NodeProto,
        inputs: Sequence[Value | None],
        types: Sequence[ValueType | None],
        *,
        kind: str,
        opset: int,
        model: str,
        constants: Constants,
        batch: int | None = None,
        scope: Scope | None = None,
    ) -> None:
        self.node = node
        self.inputs = tuple(inputs)
        self.kind = kind
        """What the layer table will say; a handler may be more precise."""
        self.filters: FilterGeometry | None = None
        self.parameters: list[str] = []
        self.opset = opset
        self.batch = batch
        """The batch size that the file fixes, None where it leaves it open."""
        self.types = tuple(types)
        """What is known of the inputs."""
        self._attributes: Mapping[str, AttributeProto] = {attribute.name: attribute for attribute in node.attribute}
        self.model = model
        """The name of the model, for errors."""
        self._scope = scope
        self._constants = constants
        self._temporaries = 0

    # What came

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute as a Python value, strings decoded and tensors in torch."""
        if name not in self._attributes:
            return default
        value = helper.get_attribute_value(self._attributes[name])
        if isinstance(value, bytes):
            return value.decode("utf-8")
        if isinstance(value, TensorProto):
            return read_tensor(value)
        return list(value) if self._attributes[name].type == AttributeProto.INTS else value

    def input(self, index: int) -> Value | None:
        """Return an input as it is; None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def data(self, index: int) -> Tensor | fx.Node:
        """Return an input as a tensor.

        Raises:
            ValueError: the input is left out.
        """
        value = self.optional(index)
        if value is None:
            raise ValueError(f"input {index} is missing")
        return value

    def optional(self, index: int) -> Tensor | fx.Node | None:
        """Return an input as a tensor, or None where it is left out.

        Raises:
            ValueError: it is a sequence or an empty optional.
        """
        value = self.input(index)
        if isinstance(value, Items | Nothing):
            raise ValueError(f"input {index} is no tensor")
        return self.materialized(value) if isinstance(value, Sizes) else value

    def constant(self, index: int) -> Tensor | None:
        """Return an input that is known at import, else None."""
        value = self.input(index)
        return value if isinstance(value, Tensor) else None

    def known(self, index: int) -> Tensor:
        """Return an input that the handler needs as a constant.

        Raises:
            ValueError: the input is left out.
            KnownAtRunTime: it is computed at run time; the handler will be called again then, and must not catch this.
        """
        value = self.input(index)
        if value is None:
            raise ValueError(f"input {index} is missing")
        if not isinstance(value, Tensor):
            raise KnownAtRunTime(f"an input {index} that is computed at run time", index)
        return value

    def operand(self, index: int) -> Any:
        """Return an input as a tensor, a known or computed single number as a Python number."""
        value = self.input(index)
        if isinstance(value, Sizes) and value.elements.ndim == 0:
            return value.elements.item()
        if isinstance(value, Tensor) and value.ndim == 0:
            return value.item()
        return self.data(index)

    def numbers(self, index: int) -> Numbers | None:
        """Return a shape-like input (shape, axes, pads, scales...) as Python numbers; None where it is left out."""
        value = self.input(index)
        if isinstance(value, Tensor):
            return list(value.flatten().tolist())
        if isinstance(value, Sizes):
            return list(value.elements.flat)
        if isinstance(value, fx.Node):
            node: fx.Node = self.evaluate(_number_list, value)
            return node
        return None

    def known_numbers(self, index: int, attribute: str = "") -> list[Any] | None:
        """Return a shape-like input as numbers that are all known; None where it is left out.

        Args:
            index: The input.
            attribute: The attribute that older operator sets have instead; it wins where a node has it.

        Raises:
            KnownAtRunTime: they are computed at run time; the handler will be called again then.
        """
        if attribute in self._attributes:
            given = self.attribute(attribute)
            return list(given) if isinstance(given, list) else [given]
        if self.input(index) is None:
            return None
        return list(self.known(index).flatten().tolist())

    def rank(self, index: int) -> int | None:
        """Return the number of axes of an input, None if it is unknown."""
        value = self.input(index)
        if isinstance(value, Tensor):
            return value.ndim
        if isinstance(value, Sizes):
            return value.elements.ndim
        known = self.types[index]
        return None if known is None or known.shape is None else len(known.shape)

    def known_rank(self, index: int) -> int:
        """Return the number of axes of an input.

        Raises:
            KnownAtRunTime: it follows from the inputs at run time; the handler will be called again then.
        """
        rank = self.rank(index)
        if rank is None:
            raise KnownAtRunTime(f"an input {index} whose number of axes is unknown")
        return rank

    def known_shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of a trained tensor, which is the same at every evaluation even if it is an input.

        Raises:
            KnownAtRunTime: the file does not say it; the handler will be called again at run time.
        """
        value = self.input(index)
        shape = value.shape if isinstance(value, Tensor) else self.declared_shape(index)
        known = tuple(length for length in shape or () if length is not None)
        if shape is None or len(known) < len(shape):
            raise KnownAtRunTime(f"an input {index} whose shape is unknown")
        return known

    def declared_shape(self, index: int) -> tuple[int | None, ...] | None:
        """Return the shape of an input at the sizes that the file declares; None if it is unknown."""
        known = self.types[index]
        return None if known is None else known.shape

    def is_floating(self, index: int) -> bool:
        """Return whether an input is of a floating-point type; yes if it is unknown."""
        value = self.input(index)
        if isinstance(value, Tensor | Sizes):
            return value.dtype.is_floating_point
        known = self.types[index]
        return known is None or known.element_type == TensorProto.UNDEFINED or known.element_type in FLOATING

    def element_type(self, index: int) -> int:
        """Return the ONNX element type of an input, TensorProto.UNDEFINED if it is unknown."""
        known = self.types[index] if index < len(self.types) else None
        if known is not None and known.element_type != TensorProto.UNDEFINED:
            return known.element_type
        value = self.input(index)
        return ELEMENT_TYPES[value.dtype] if isinstance(value, Tensor | Sizes) else TensorProto.UNDEFINED

    def wants(self, output: int) -> bool:
        """Return whether an optional output is asked for."""
        return output < len(self.node.output) and bool(self.node.output[output])

    @property
    def scope(self) -> Scope:
        """Where the node stands: what translates its subgraphs."""
        if self._scope is None:
            raise self.unsupported("subgraphs in this place")
        return self._scope

    def alone(self) -> "Operation":
        """Return the node without its inputs and its graph, for `with_inputs`."""
        return self.with_inputs((), (), Constants(GraphBuilder()))

    def with_inputs(
        self, inputs: Sequence[Value | None], types: Sequence[ValueType | None], constants: Constants | None = None
    ) -> "Operation":
        """Return the same node with other inputs, on its way into the graph that `constants` is of, or the same one."""
        constants = constants or self._constants
        return Operation(
            self.node, inputs, types, kind=self.kind, opset=self.opset, model=self.model, constants=constants
        )

    # What goes into the graph

    def call(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Tensor | fx.Node:
        """Apply a functional operation that gives a tensor: now, if all its arguments are known, else as a node."""
        result: Tensor | fx.Node = self.evaluate(function, *arguments, **keywords)
        return result

    def evaluate(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Apply a function with any result: now, if all its arguments are known, else as a node of the graph."""
        found: list[fx.Node] = []
        map_aggregate((arguments, keywords), lambda item: found.append(item) if isinstance(item, fx.Node) else None)
        if not found:
            with torch.no_grad():
                result = function(*arguments, **keywords)
            if isinstance(result, Tensor):
                self.bounded(list(result.shape))
            return result
        arguments, keywords = map_aggregate((arguments, keywords), self._placed)
        if isinstance(function, nn.Module):
            return self._evaluate_module(function, *arguments)
        return self._constants.builder.call(function, *arguments, **keywords)

    def _evaluate_module(self, module: nn.Module, *arguments: Any) -> fx.Node:
        """Call a module that becomes a part of the graph, with its parameters."""
        node = self._constants.builder.module(self._constants.unused(f"{self.node.op_type}_body"), module, *arguments)
        tensors = (name for name, tensor in module.named_buffers() if tensor.is_floating_point() and tensor.ndim > 0)
        self.parameters.extend(f"{node.target}.{name}" for name in tensors)
        return node

    def placed(self, value: Tensor | fx.Node, name: str | None = None) -> fx.Node:
        """Return a value as a node; a constant is kept in the graph, by its own name or `name`."""
        if isinstance(value, fx.Node):
            return value
        if self._constants.name_of(value) is None and name is None:
            name = f"{self.node.output[0]}.constant{self._temporaries}"
            self._temporaries += 1
        node = self._constants.place(value, name or "")
        if value.is_floating_point() and value.ndim > 0 and node.target not in self.parameters:
            self.parameters.append(str(node.target))
        return node

    def argument(self, value: Value | None) -> Any:
        """Return a value as an argument of `evaluate`: a tensor, a node, a list of such, or None."""
        if isinstance(value, Items):
            return [self.argument(element) for element in value.elements]
        if isinstance(value, Nothing):
            return None
        return self.materialized(value) if isinstance(value, Sizes) else value

    def node_of(self, value: Value) -> fx.Node:
        """Return any value as one node."""
        argument = self.argument(value)
        if isinstance(argument, Tensor | fx.Node):
            return self.placed(argument)
        node: fx.Node = self._constants.builder.call(itself, map_aggregate(argument, self._placed))
        return node

    def transposed(self, tensor: Tensor) -> fx.Node:
        """Return a node of a constant matrix with its axes exchanged."""
        name = self._constants.name_of(tensor) or self.node.output[0]
        return self.placed(tensor.t().contiguous(), f"{name}_transposed")

    def reference(self) -> fx.Node:
        """Return a node whose tensor has the device and the floating-point type of the graph."""
        return self._constants.reference()

    def materialized(self, value: Sizes) -> fx.Node:
        """Return sizes as a tensor of the graph."""
        elements, shape = list(value.elements.flat), list(value.elements.shape)
        node: fx.Node = self.evaluate(sizes_tensor, elements, shape, value.dtype, self.reference())
        return node

    def bounded(self, shape: Numbers) -> Numbers:
        """Return the shape of a tensor that is computed at import.

        Raises:
            ValueError: a few such tensors would take gigabytes.
        """
        volume = 1
        for length in () if isinstance(shape, fx.Node) else shape:
            volume *= length if isinstance(length, int) else 1
        if volume > MAXIMUM_CONSTANT:
            raise ValueError(f"a constant of shape {shape} is larger than {MAXIMUM_CONSTANT} elements")
        return shape

    def unsupported(self, detail: str) -> UnsupportedModel:
        """Return the error that this operator is known but not used in this way."""
        name = self.node.name or self.node.output[0]
        return UnsupportedModel(
            self.model,
            "it uses operators in ways that are not supported",
            ((f"{self.node.op_type} with {detail}", (name,)),),
        )

    def _placed(self, item: Any) -> Any:
        return self.placed(item) if isinstance(item, Tensor) else item


def _plain(part: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in part).lstrip("_")


def itself(value: object) -> object:
    """Return a list or None as it is: fx has nodes for calls alone."""
    return value


def _number_list(tensor: Tensor) -> list[float]:
    """Return the elements of a tensor as Python numbers; on a GPU this waits for the device."""
    numbers: list[float] = tensor.flatten().tolist()
    return numbers


Handler = Callable[[Operation], Value | tuple[Value, ...]]
"""Translates one node: reads the operation and returns its outputs."""

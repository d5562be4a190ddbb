"""One ONNX node on its way into the graph: what a handler reads, and how it emits."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnx import NodeProto
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import FilterGeometry
from phosphene_server.models.importers.onnx.arguments import Arguments
from phosphene_server.models.importers.onnx.constants import Constants
from phosphene_server.models.importers.onnx.naming import is_made_up
from phosphene_server.models.importers.onnx.subgraphs import Scope
from phosphene_server.models.importers.onnx.value_types import ValueType
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


class Operation(Arguments):
    """One ONNX node: its inputs and attributes, what becomes of it, and what its handler says of the layer."""

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
        module: str = "",
        batch: int | None = None,
        scope: Scope | None = None,
    ) -> None:
        super().__init__(node, inputs, types, opset=opset, model=model)
        self.kind = kind
        """What the layer table will say; a handler may be more precise."""
        self.filters: FilterGeometry | None = None
        self.parameters: list[str] = []
        self.module = module
        """The author's name of the module that the node is in, empty where the file does not say."""
        self.batch = batch
        """The batch size that the file fixes, None where it leaves it open."""
        self._scope = scope
        self._constants = constants
        self._temporaries = 0

    # Inputs that may be computed at run time

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

    def number(self, index: int) -> Any:
        """Return an input of one number as a Python number or an fx node; None where it is left out."""
        numbers = self.numbers(index)
        if isinstance(numbers, fx.Node):
            return self.evaluate(operator.getitem, numbers, 0)
        return numbers[0] if numbers else None

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
            self.node,
            inputs,
            types,
            kind=self.kind,
            opset=self.opset,
            model=self.model,
            constants=constants,
            module=self.module,
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

    def parts(self, results: Any, count: int) -> tuple[Any, ...]:
        """Return the first results of a function that gives several."""
        return tuple(self.evaluate(operator.getitem, results, index) for index in range(count))

    def placed(self, value: Tensor | fx.Node, name: str | None = None) -> fx.Node:
        """Return a value as a node; a constant is kept in the graph by `name`, else by its own name."""
        if isinstance(value, fx.Node):
            return value
        name = name or self._constants.name_of(value)
        if name is None:
            name = f"{self.node.output[0]}.constant{self._temporaries}"
            self._temporaries += 1
        node = self._constants.place(value, name)
        if value.is_floating_point() and value.ndim > 0 and node.target not in self.parameters:
            self.parameters.append(str(node.target))
        return node

    def trained(self, tensor: Tensor, role: str) -> fx.Node:
        """Return a node that reads a trained tensor under the author's name.

        Where the exporter computed with it (transposed it, folded a normalization into it) the author's name is lost;
        it is called after the module then, `fc.weight`.

        Args:
            tensor: The tensor.
            role: What torch calls it within its module: `weight` or `bias`.
        """
        own = self._constants.name_of(tensor)
        lost = own is None or is_made_up(own)
        return self.placed(tensor, f"{self.module}.{role}" if lost and self.module else own)

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

    def transposed(self, matrix: Tensor) -> Tensor:
        """Return a constant matrix with its axes exchanged, under the same name."""
        return self._constants.transposed(matrix)

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

    def _placed(self, item: Any) -> Any:
        return self.placed(item) if isinstance(item, Tensor) else item


def itself(value: object) -> object:
    """Return a list or None as it is: fx has nodes for calls alone."""
    return value


def _number_list(tensor: Tensor) -> list[float]:
    """Return the elements of a tensor as Python numbers; on a GPU this waits for the device."""
    numbers: list[float] = tensor.flatten().tolist()
    return numbers


Handler = Callable[[Operation], Value | tuple[Value, ...]]
"""Translates one node: reads the operation and returns its outputs."""

"""Writes operations into a graph and, beside them, knows what an example of every value looks like.

A network that asks for the size of its input decides by it. The examples, tensors on the meta device that have a shape
and a type but no numbers, answer such questions without running anything; the answer itself stays in the graph as a
node, so that another batch or picture size gets its own.
"""

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, fx, nn

from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import FilterGeometry
from phosphene_server.models.importers.aten.examples import evaluate_example

Number = int | float | bool


class Emitter:
    """Adds nodes to a GraphBuilder and keeps what lowering needs to know about them."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self.filters: dict[fx.Node, FilterGeometry] = {}
        """How the nodes that slide filters do it."""
        self.kinds: dict[fx.Node, str] = {}
        """Kinds of layers that an operator's name alone does not tell."""
        self.inputs: list[fx.Node] = []
        self._examples: dict[fx.Node, Any] = {}
        self._numbers: set[fx.Node] = set()
        self._tensors: dict[str, fx.Node] = {}
        self._computed: dict[Any, fx.Node] = {}
        """The numbers that were written, by function and arguments: the same question is asked many times."""
        self._modules = 0

    def input(self, name: str, example: Tensor | None) -> fx.Node:
        """Add an input of the model; `example`: a meta tensor like it, None where nothing is known."""
        example = None if example is None else in_full_precision(example)
        node = self.builder.input(name)
        self.inputs.append(node)
        self._remember(node, example)
        return node

    def tensor(self, name: str, value: Tensor) -> fx.Node:
        """Add a trained tensor or constant under its author's name; the same name gives the same node."""
        if name not in self._tensors:
            value = in_full_precision(value)
            self._tensors[name] = self.builder.tensor(name, value)
            self._remember(self._tensors[name], value.to("meta"))
        return self._tensors[name]

    def call(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> fx.Node:
        """Add an operation that gives a tensor or several."""
        node = self.builder.call(function, *arguments, **keywords)
        self._remember(node, self._evaluate(function, arguments, keywords))
        return node

    def call_like(self, example: Any, function: Callable[..., Any], *arguments: Any) -> fx.Node:
        """Add an operation whose example is known, since it cannot be evaluated without numbers."""
        node = self.builder.call(function, *arguments)
        self._remember(node, example)
        return node

    def module(self, module: nn.Module) -> fx.Node:
        """Add a module as a value, for an operation that calls it."""
        self._modules += 1
        name = f"branch_{self._modules}"
        while hasattr(self.builder.root, name):
            name = f"_{name}"
        self.builder.root.add_module(name, module)
        node = self.builder.graph.get_attr(name)
        self._remember(node, module)
        return node

    def number(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Compute a number: at once where all arguments are known, otherwise as a node."""
        if not _contains_node(arguments):
            return function(*arguments)
        key = (function, repr(arguments))  # Nodes have unique names; True and 1 differ.
        if key not in self._computed:
            self._computed[key] = self.call(function, *arguments)
            self._numbers.add(self._computed[key])
        return self._computed[key]

    def forget(self, erased: Collection[fx.Node]) -> None:
        """Forget nodes that were erased from the graph."""
        gone = set(erased)
        self._computed = {key: node for key, node in self._computed.items() if node not in gone}

    def size(self, tensor: fx.Node, axis: Any) -> Any:
        """Return the length of an axis: a number where the tensor is trained, otherwise a node."""
        if tensor.op == "get_attr":
            return int(self._examples[tensor].shape[axis])
        return self.number(torch.Tensor.size, tensor, axis)

    def item(self, sequence: fx.Node, index: int) -> fx.Node:
        """Return one of the several tensors that an operation gives."""
        return self.call(_item, sequence, index)

    def item_number(self, sequence: fx.Node, index: int) -> fx.Node:
        """Return one of the several values that an operation gives, which is a number."""
        node = self.item(sequence, index)
        self._numbers.add(node)
        return node

    def example(self, value: Any) -> Any:
        """Return what a value looks like: a meta tensor, a number; None where it is not known."""
        return self._examples.get(value) if isinstance(value, fx.Node) else value

    def is_tensor(self, value: Any) -> bool:
        """Whether a value is a tensor, and not a number, known or not."""
        return isinstance(value, fx.Node) and value not in self._numbers

    def is_open(self, value: Any) -> bool:
        """Whether a value is a number that differs from input to input."""
        return isinstance(value, fx.Node) and value in self._numbers

    @property
    def reference(self) -> fx.Node:
        """The value that says which floating-point type and device the graph works in: an input or a trained tensor."""
        values = [*self.inputs, *self._tensors.values()]
        floating = (node for node in values if node not in self._examples or _is_floating(self._examples[node]))
        return next(floating, self.inputs[0])

    def _remember(self, node: fx.Node, example: Any) -> None:
        if example is not None:
            self._examples[node] = example

    def _evaluate(self, function: Callable[..., Any], arguments: Any, keywords: Any) -> Any:
        missing = False

        def look_up(node: fx.Node) -> Any:
            nonlocal missing
            missing = missing or node not in self._examples
            return self._examples.get(node)

        known = fx.node.map_arg((arguments, keywords), look_up)
        if missing:
            return None
        try:
            with torch.no_grad():
                return evaluate_example(function, *known)
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError):
            # The example does not fit, for example because nobody knows the size of picture that the network takes.
            return None


def _is_floating(example: Any) -> bool:
    return isinstance(example, Tensor) and example.is_floating_point()


def in_full_precision(tensor: Tensor) -> Tensor:
    """Return a tensor of half precision as float32, in which a CPU computes faster and gradients are exact enough."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _item(sequence: Any, index: int) -> Any:
    return sequence[index]


def _contains_node(arguments: Any) -> bool:
    found: list[fx.Node] = []
    fx.node.map_arg(arguments, found.append)
    return bool(found)

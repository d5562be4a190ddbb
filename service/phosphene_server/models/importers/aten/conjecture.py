"""A program as it would be for any batch, see batch.py: made while it is evaluated for a longer one on meta tensors."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.examples import evaluate_example

FACTOR = 7
"""How many times longer a batch the conjecture is made with."""


class FixedBatch(Exception):
    """The program cannot be rewritten for another batch."""


class Conjecture:
    """What a graph would be like for any batch, as edits of its nodes."""

    def __init__(self, emit: Emitter, length: int) -> None:
        self._emit = emit
        self._graph = emit.builder.graph
        self._length = length
        self._longer: dict[fx.Node, Any] = {}
        self._before: dict[fx.Node, int] = {}
        """How many elements of the axis that holds the batch stand before the batch."""
        self._batch: fx.Node | None = None
        self.edits: list[tuple[fx.Node, Any, Any, Any, Any]] = []
        """Nodes with their arguments and keywords, before and after."""

    def make(self) -> None:
        """Rewrite the nodes that need it.

        Raises:
            Exception: that is not possible; the graph may be half rewritten.
        """
        for node in list(self._graph.nodes):
            if node.op == "placeholder":
                example = self._emit.example(node)
                self._longer[node] = example.new_empty([len(example) * FACTOR, *example.shape[1:]])
                self._before[node] = 1
            elif node.op == "get_attr":
                self._longer[node] = self._emit.example(node)
            else:
                self._follow(node)

    def undo(self) -> None:
        """Make the graph what it was; nodes that were added stay, unused."""
        for node, arguments, keywords, _, _ in reversed(self.edits):
            node.args, node.kwargs = arguments, keywords

    def redo(self) -> None:
        """Make the edits once more."""
        for node, _, _, arguments, keywords in self.edits:
            node.args, node.kwargs = arguments, keywords

    def place(self, node: fx.Node) -> tuple[int, int] | None:
        """Return the axis that holds the batch and how much of it stands before the batch; None where none does."""
        axis = self._axis(node)
        return None if axis is None else (axis, self._before[node])

    def _follow(self, node: fx.Node) -> None:
        """Evaluate a node for the longer batch, rewritten where the number of the shorter one stands in it."""
        rewrite = REWRITES.get(node.target)
        source = self._growing(node)
        if rewrite is not None and source is not None and node.all_input_nodes[0] is source:
            rewrite(self, node, source)
        if node.target in WRITES and source is not None and node.args[0] not in self._before:
            self._repeat(node, {node.args[0]: self._axis(source)}, source)
        try:
            value = self._evaluate(node)
        except Exception:
            if source is None:
                raise
            self._repeat_operands(node, source)
            value = self._evaluate(node)
        self._longer[node] = value
        if isinstance(value, Tensor) and self._axis(node) is not None:
            self._before[node] = self._elements_before(node, source)
        elif isinstance(value, tuple | list) and source is not None:
            self._before[node] = self._before[source]

    def _evaluate(self, node: fx.Node) -> Any:
        arguments, keywords = fx.node.map_arg((node.args, node.kwargs), self._longer.__getitem__)
        with torch.no_grad():
            return evaluate_example(node.target, arguments, keywords)  # type: ignore[arg-type]  # never a method

    def _axis(self, node: fx.Node) -> int | None:
        """Return the axis of a tensor that grows with the batch."""
        short, long = self._emit.example(node), self._longer[node]
        if not isinstance(short, Tensor) or short.dim() != long.dim():
            raise FixedBatch
        grown = [axis for axis, (a, b) in enumerate(zip(short.shape, long.shape, strict=True)) if a != b]
        if len(grown) > 1 or any(long.shape[axis] != short.shape[axis] * FACTOR for axis in grown):
            raise FixedBatch
        return grown[0] if grown else None

    def _growing(self, node: fx.Node) -> fx.Node | None:
        """Return the first argument that holds samples: a tensor, or several of which one is taken."""
        return next((source for source in node.all_input_nodes if source in self._before), None)

    def _elements_before(self, node: fx.Node, source: fx.Node | None) -> int:
        """Return how much of the axis that holds the batch stands before it, once the axis is known."""
        if source is None:
            raise FixedBatch
        if node.target not in ORDERED:
            return self._before[source]
        axis = self._axis(node)
        outer: int = math.prod(self._emit.example(node).shape[:axis])
        before, rest = divmod(self._position(source)[0], outer)
        if rest:
            raise FixedBatch
        return before

    def _position(self, node: fx.Node) -> tuple[int, int]:
        """Return how many elements of a tensor stand before and after the batch, in the order of its elements."""
        axis, shape = self._axis(node), self._emit.example(node).shape
        if axis is None:
            raise FixedBatch
        before = self._before[node] * math.prod(shape[:axis])
        return before, shape.numel() // self._length // before

    def _batch_axis(self, source: fx.Node, shape: Sequence[int]) -> int:
        """Return which axis of a reshaped tensor holds the batch.

        Of several that can, one that holds nothing else is the likeliest, then one that is not the last, where features
        stand, then one that the samples lead.
        """
        before, after = self._position(source)
        found = []
        for axis, length in enumerate(shape):
            outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
            if before % outer == 0 and after % inner == 0:
                leading = before // outer
                if length == leading * self._length * (after // inner):
                    doubts = (length != self._length, axis == len(shape) - 1, leading != 1, axis != self._axis(source))
                    found.append((*doubts, axis))
        if not found:
            raise FixedBatch
        return int(min(found)[-1])

    def _reshape(self, node: fx.Node, source: fx.Node) -> None:
        sizes = list(node.args[1])  # type: ignore[arg-type]  # the importers write a list
        if not self._grows_by_itself(sizes):
            shape = self._emit.example(node).shape
            axis = self._batch_axis(source, shape)
            if sizes[axis] != -1:
                sizes[axis] = self._samples(node, shape[axis])
                self._edit(node, (source, sizes, *node.args[2:]))

    def _unflatten(self, node: fx.Node, source: fx.Node) -> None:
        sizes, shape = list(node.args[2]), self._emit.example(source).shape  # type: ignore[arg-type]  # as above
        parted = int(node.args[1]) % len(shape)  # type: ignore[arg-type]  # an axis
        if parted == self._axis(source) and not self._grows_by_itself(sizes):
            whole = self._emit.example(node).shape
            axis = self._batch_axis(source, whole) - parted
            if sizes[axis] != -1:
                sizes[axis] = self._samples(node, whole[parted + axis])
                self._edit(node, (source, node.args[1], sizes))

    def _expand(self, node: fx.Node, source: fx.Node) -> None:
        sizes, shape = list(node.args[1]), self._emit.example(source).shape  # type: ignore[arg-type]  # as above
        axis = self._axis(source)
        if axis is None or self._grows_by_itself(sizes):
            return
        position = axis + len(sizes) - len(shape)
        if sizes[position] not in (-1, shape[axis]):
            raise FixedBatch
        sizes[position] = -1
        self._edit(node, (source, sizes))

    def _grows_by_itself(self, sizes: Sequence[Any]) -> bool:
        """Whether one of the sizes is computed from the length of the batch."""
        computed = [size for size in sizes if isinstance(size, fx.Node)]
        return any(self._longer[size] != self._emit.example(size) for size in computed)

    def _repeat_operands(self, node: fx.Node, source: fx.Node) -> None:
        """Repeat for every sample what does not depend on the input but must be as long as what does."""
        axis, rank = self._axis(source), self._emit.example(source).dim()
        if axis is None:
            raise FixedBatch
        still = [operand for operand in node.all_input_nodes if operand not in self._before]
        places = {
            operand: axis - rank + short.dim()  # Shapes are compared from their ends.
            for operand in still
            if isinstance(short := self._emit.example(operand), Tensor) and axis - rank + short.dim() >= 0
        }
        self._repeat(node, places, source)

    def _repeat(self, node: fx.Node, places: Mapping[Any, int | None], source: fx.Node) -> None:
        """Repeat operands along axes, where these are as long as the one along which `source` holds the samples."""
        axis = self._axis(source)
        if axis is None or self._before[source] != 1:
            raise FixedBatch
        length = self._emit.example(source).shape[axis]
        replaced = {
            operand: self._add(node, for_every_sample, operand, place, length // self._length, self._batch_node())
            for operand, place in places.items()
            if place is not None and self._emit.example(operand).shape[place] == length
        }
        arguments, keywords = fx.node.map_arg((node.args, node.kwargs), lambda each: replaced.get(each, each))
        self._edit(node, arguments, keywords)

    def _samples(self, node: fx.Node, length: int) -> fx.Node:
        """Return a length that holds the batch as a number that follows it."""
        each = length // self._length
        batch = self._batch_node()
        return batch if each == 1 else self._add(node, operator.mul, batch, each)

    def _batch_node(self) -> fx.Node:
        if self._batch is None:
            with self._graph.inserting_after(self._emit.inputs[-1]):
                self._batch = self._graph.call_function(torch.Tensor.size, (self._emit.inputs[0], 0))
            self._longer[self._batch] = self._length * FACTOR
        return self._batch

    def _add(self, before: fx.Node, function: Callable[..., Any], *arguments: Any) -> fx.Node:
        with self._graph.inserting_before(before):
            node = self._graph.call_function(function, arguments)
        self._longer[node] = self._evaluate(node)
        return node

    def _edit(self, node: fx.Node, arguments: Any, keywords: Any = None) -> None:
        old = node.args, node.kwargs
        node.args, node.kwargs = arguments, node.kwargs if keywords is None else keywords
        self.edits.append((node, *old, node.args, node.kwargs))


def for_every_sample(tensor: Tensor, axis: int, length: int, batch: int) -> Tensor:
    """Repeat the first `length` entries of an axis, which belong to one sample, `batch` times."""
    one = tensor.narrow(axis, 0, length).unsqueeze(axis)
    return one.expand(*one.shape[:axis], batch, *one.shape[axis + 1 :]).flatten(axis, axis + 1)


REWRITES: Mapping[Any, Callable[[Conjecture, fx.Node, fx.Node], None]] = {
    torch.reshape: Conjecture._reshape,
    torch.unflatten: Conjecture._unflatten,
    torch.Tensor.expand: Conjecture._expand,
}
"""Operations in whose arguments the length of the batch may stand as a number."""

WRITES = frozenset({torch.index_put, torch.ops.aten.index_put.default})
"""Operations that put samples into their first argument, and do not say on the meta device that they do not fit."""

ORDERED = frozenset({torch.reshape, torch.flatten, torch.unflatten, torch.squeeze, torch.unsqueeze})
"""Operations that keep the order of the elements."""

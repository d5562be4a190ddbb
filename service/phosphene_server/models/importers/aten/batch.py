"""Frees the batch of a program that was written down at one batch size.

A static export of `x.view(len(x), 16, -1)` says `x.view(1, 16, -1)`, and `token.expand(len(x), -1, -1)` says
`token.expand(1, -1, -1)`: the length of the batch stands in it as a number like any other. Which of the numbers it is
follows from where the samples are. Every value of the program has its samples along one axis, maybe merged with others:
(before, batch, after) in one. A reshape keeps the order of the elements, so how many elements stand before and after a
sample tells which axis of the result holds the batch, and that number becomes the length of the input. What does not
depend on the input, but is joined to what does, is repeated for every sample.

    (1, 64, 56, 56) -> reshape [1, 64, 8, 7, 8, 7] -> permute -> reshape [64, 49, 64]
    (B, 64, 56, 56) -> reshape [B, 64, 8, 7, 8, 7] -> permute -> reshape [64 * B, 49, 64]

At a batch of one an axis of length one can be a batch or not. So the rewritten program is a conjecture; it is kept only
if it gives two batches together, at every layer, what the original gives each of them. Otherwise the batch stays fixed.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from phosphene_server.models.importers.aten.conjecture import Conjecture
from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.evaluation import evaluate

TOLERANCE = 1e-3
"""Largest difference of a layer between two batches together and apart, relative to its largest value: far above what
rounding in float32 does, far below what a sample in the wrong place does."""
SEED = 20170711
MOST_NUMBERS = 2**28
"""The longest value, in float32 one GiB, with which a conjecture is put to the test."""


def free_batch(emit: Emitter, nodes: Iterable[fx.Node]) -> None:
    """Rewrite a graph, in place, so that it takes any batch; leave it as it is where that cannot be proven.

    Args:
        emit: The graph, with examples of all values; the batch is the first axis of every input.
        nodes: Outputs and layers.
    """
    nodes = set(nodes)
    examples = [emit.example(node) for node in emit.inputs]
    if not examples or any(example is None or not example.dim() for example in examples):
        return
    if len({len(example) for example in examples}) > 1 or not len(examples[0]):
        return
    conjecture = Conjecture(emit, len(examples[0]))
    try:
        conjecture.make()
        proven = not conjecture.edits or (_is_affordable(emit) and _holds(emit, conjecture, nodes))
    except Exception:  # An operation may refuse a shape with any kind of error; all of them mean no.
        proven = False
    if not proven:
        conjecture.undo()


def _is_affordable(emit: Emitter) -> bool:
    """Tell whether the program can be evaluated: a small file may speak of tensors that no memory holds."""
    examples = [emit.example(node) for node in emit.builder.graph.nodes]
    return all(example.numel() * 2 <= MOST_NUMBERS for example in examples if isinstance(example, Tensor))


def _holds(emit: Emitter, conjecture: Conjecture, nodes: set[fx.Node]) -> bool:
    """Tell whether two batches together give what they give apart, at every node."""
    generator = torch.Generator().manual_seed(SEED)
    halves = [[_random_like(emit.example(node), generator) for node in emit.inputs] for _ in range(2)]
    conjecture.undo()
    apart = [_compute(emit, nodes, half) for half in halves]
    conjecture.redo()
    together = _compute(emit, nodes, [torch.cat(pair) for pair in zip(*halves, strict=True)])
    return all(
        _same(together[node], [half[node] for half in apart], conjecture.place(node))
        for node in nodes
        if isinstance(together[node], Tensor)
    )


def _compute(emit: Emitter, nodes: set[fx.Node], inputs: Sequence[Tensor]) -> dict[fx.Node, Any]:
    graph, root = emit.builder.graph, emit.builder.root
    known: dict[fx.Node, Any] = dict(zip(emit.inputs, inputs, strict=True))
    for node in graph.nodes:
        if node.op == "get_attr":
            example = emit.example(node)  # A module, which a branch is, is its own.
            known[node] = root.get_buffer(str(node.target)) if isinstance(example, Tensor) else example
    return evaluate(graph, nodes, known)


def _random_like(example: Tensor, generator: torch.Generator) -> Tensor:
    if example.is_floating_point():
        return torch.randn(example.shape, dtype=example.dtype, generator=generator)
    return torch.randint(0, 2, example.shape, generator=generator).to(example.dtype)


def _same(together: Tensor, apart: Sequence[Tensor], place: tuple[int, int] | None) -> bool:
    if place is None:
        expected = [apart[0], apart[1]]
        found = [together, together]
    else:
        axis, before = place
        expected = list(apart)
        parts = together.reshape(*together.shape[:axis], before, 2, -1, *together.shape[axis + 1 :])
        found = [part.flatten(axis, axis + 1) for part in parts.unbind(axis + 1)]
    return all(_close(one, other) for one, other in zip(found, expected, strict=True))


def _close(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape:
        return False
    if not second.is_floating_point():
        return torch.equal(first, second)
    scale = float(second.abs().max()) if second.numel() else 0.0
    return bool(((first - second).abs() <= TOLERANCE * scale).all())

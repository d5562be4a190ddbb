"""Weighted sums of objectives."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import torch
from torch import Tensor

from phosphene_server.maximization.objectives.objective import Objective


def weighted_sum(*, terms: Sequence[tuple[float, Objective]]) -> Objective:
    """Return the sum of weight times objective; a negative weight minimises its term."""
    rows = [(weight, *term.numbers) for weight, term in terms]
    ends = list(accumulate(len(row) for row in rows))

    def evaluate(activations: Mapping[str, Tensor], numbers: Tensor) -> Tensor:
        parts = []
        for (_, term), row, end in zip(terms, rows, ends, strict=True):
            own = numbers[:, end - len(row) : end]
            value = term.evaluate(activations, own[:, 1:])
            parts.append(own[:, 0].to(value.dtype) * value)
        return torch.stack(parts).sum(dim=0)

    keys = tuple(term.key for _, term in terms)
    return Objective(
        None if None in keys else ("weighted_sum", keys),
        frozenset().union(*(term.layers for _, term in terms)),
        tuple(number for row in rows for number in row),
        evaluate,
    )

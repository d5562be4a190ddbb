"""Weighted sums of objectives."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from phosphene_server.maximization.objectives.objective import Objective


def weighted_sum(*, terms: Sequence[tuple[float, Objective]]) -> Objective:
    """Return the sum of weight times objective; a negative weight minimises its term."""

    def evaluate(activations: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([weight * term(activations) for weight, term in terms]).sum(dim=0)

    return Objective(frozenset().union(*(term.layers for _, term in terms)), evaluate)

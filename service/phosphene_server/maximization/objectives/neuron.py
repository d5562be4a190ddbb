"""The activation of one neuron."""

from collections.abc import Mapping

import torch
from torch import Tensor

from phosphene_server.maximization.objectives.objective import Objective
from phosphene_server.maximization.objectives.selection import select


def neuron(*, layer: str, channel: int, row: int | None, column: int | None) -> Objective:
    """Return the activation of a channel at one position; row and column None: the centre, length // 2.

    Of a layer without space it is the feature itself.
    """
    place = (channel,) if row is None or column is None else (channel, row, column)

    def evaluate(activations: Mapping[str, Tensor], numbers: Tensor) -> Tensor:
        activation = activations[layer]
        unsaid = activation.shape[1 + len(place) :]
        centre = [torch.full_like(numbers[:, :1], length // 2) for length in unsaid]
        return select(activation, torch.cat([numbers, *centre], dim=1))

    return Objective(("neuron", layer, len(place)), frozenset({layer}), place, evaluate)

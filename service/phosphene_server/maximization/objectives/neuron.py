"""The activation of one neuron."""

from collections.abc import Mapping

from torch import Tensor

from phosphene_server.maximization.objectives.objective import Objective
from phosphene_server.maximization.objectives.selection import select


def neuron(*, layer: str, channel: int, row: int | None, column: int | None) -> Objective:
    """Return the activation of a channel at one position; row and column are None for a layer without space."""

    def evaluate(activations: Mapping[str, Tensor], numbers: Tensor) -> Tensor:
        return select(activations[layer], numbers)

    place = (channel,) if row is None or column is None else (channel, row, column)
    return Objective(("neuron", layer), frozenset({layer}), place, evaluate)

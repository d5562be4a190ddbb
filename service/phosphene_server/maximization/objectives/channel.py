"""The mean of a channel."""

from collections.abc import Mapping

from torch import Tensor

from phosphene_server.maximization.objectives.objective import Objective
from phosphene_server.maximization.objectives.selection import select


def channel(*, layer: str, channel: int) -> Objective:
    """Return the mean of a channel over all its positions; of a layer without space, the feature itself."""

    def evaluate(activations: Mapping[str, Tensor], numbers: Tensor) -> Tensor:
        selected = select(activations[layer], numbers)  # (batch, height, width) or (batch,)
        return selected.reshape(len(selected), -1).mean(dim=1)

    return Objective(("channel", layer), frozenset({layer}), (channel,), evaluate)

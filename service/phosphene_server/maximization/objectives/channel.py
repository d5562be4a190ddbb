"""The mean of a channel."""

from collections.abc import Mapping

from torch import Tensor

from phosphene_server.maximization.objectives.objective import Objective


def channel(*, layer: str, channel: int) -> Objective:
    """Return the mean of a channel over all its positions; of a layer without space, the feature itself."""

    def evaluate(activations: Mapping[str, Tensor]) -> Tensor:
        selected = activations[layer][:, channel]  # (batch, height, width) or (batch,)
        return selected.reshape(len(selected), -1).mean(dim=1)

    return Objective(frozenset({layer}), evaluate)

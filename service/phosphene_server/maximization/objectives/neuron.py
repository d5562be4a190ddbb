"""The activation of one neuron."""

from collections.abc import Mapping

from torch import Tensor

from phosphene_server.maximization.objectives.objective import Objective


def neuron(*, layer: str, channel: int, row: int | None, column: int | None) -> Objective:
    """Return the activation of a channel at one position; row and column are None for a layer without space."""

    def evaluate(activations: Mapping[str, Tensor]) -> Tensor:
        selected = activations[layer][:, channel]  # (batch, height, width) or (batch,)
        return selected if row is None or column is None else selected[:, row, column]

    return Objective(frozenset({layer}), evaluate)

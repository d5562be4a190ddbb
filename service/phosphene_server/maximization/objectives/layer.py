"""The mean of the squares of a layer."""

from collections.abc import Mapping

from torch import Tensor

from phosphene_server.maximization.objectives.objective import Objective


def layer(*, layer: str) -> Objective:
    """Return the mean of the squares of all activations of a layer.

    References:
        Mordvintsev, Olah and Tyka, "Inceptionism: going deeper into neural networks" (DeepDream), 2015.
    """

    def evaluate(activations: Mapping[str, Tensor], _: Tensor) -> Tensor:
        activation = activations[layer]
        return activation.square().mean(dim=tuple(range(1, activation.dim())))

    return Objective(("layer", layer), frozenset({layer}), (), evaluate)

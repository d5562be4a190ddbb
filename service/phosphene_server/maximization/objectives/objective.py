"""What an objective is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """What is maximised: a function of activations, one number for each picture.

    A picture's number must depend on that picture alone: pictures of several jobs are evaluated in one batch.
    """

    layers: frozenset[str]
    """The layers that it reads."""
    evaluate: Callable[[Mapping[str, Tensor]], Tensor]
    """Activations by layer, each (batch, channel, ...), to (batch,)."""

    def __call__(self, activations: Mapping[str, Tensor]) -> Tensor:
        """Return the objective of each picture, (batch,)."""
        return self.evaluate(activations)

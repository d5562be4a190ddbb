"""What an objective is."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """Turns activations into what is maximised: one number for each picture."""

    key: Hashable
    """Pictures whose objectives have equal keys are evaluated together, by one of them, so each picture's number must
    depend on that picture alone.

    None: the pictures of a job look at one another, and are evaluated apart from those of other jobs.
    """
    layers: frozenset[str]
    """The layers that it reads."""
    numbers: tuple[float, ...]
    """What may differ between objectives of equal keys, such as the channel."""
    evaluate: Callable[[Mapping[str, Tensor], Tensor], Tensor]
    """Activations by layer, each (batch, channel, ...), and numbers, float64 (batch, n), to (batch,)."""

    def __call__(self, activations: Mapping[str, Tensor]) -> Tensor:
        """Return the objective of each picture, (batch,), where all are maximised for this one."""
        some = activations[next(iter(self.layers))]
        numbers = torch.tensor(self.numbers, dtype=torch.float64).to(some.device)
        return self.evaluate(activations, numbers.expand(len(some), -1))

"""What a penalty is."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from torch import Tensor

MIDDLE_GRAY = 0.5


@dataclass(frozen=True)
class Penalty:
    """Turns pictures into what is subtracted from the objective: one number for each picture."""

    key: Hashable
    """Pictures whose penalties have equal keys are evaluated together, by one of them, so each picture's number must
    depend on that picture alone.

    None: the pictures of a job look at one another, and are evaluated apart from those of other jobs.
    """
    evaluate: Callable[[Tensor], Tensor]
    """Pictures (batch, 3, height, width), RGB in [0, 1], to one number for each, (batch,), 0 or more."""

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return the penalty of each picture, (batch,)."""
        return self.evaluate(pictures)

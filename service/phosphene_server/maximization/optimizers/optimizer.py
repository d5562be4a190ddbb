"""What an optimizer is."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Memory = Mapping[str, Tensor]
"""What an optimizer remembers between steps, by name; each tensor has a row for each picture."""


@dataclass(frozen=True)
class Optimizer:
    """Moves the numbers behind many pictures at once, each up its own gradient."""

    key: Hashable
    """Pictures whose optimizers have equal keys are moved together, by the `move` of one of them."""
    start: Callable[[Tensor], Memory]
    """The first parameters, (batch, ...), to what is remembered before the first step."""
    numbers: Callable[[int, int], NDArray[np.float64]]
    """The number of steps done, and a number of steps to come, to what `move` is given at each of these, (steps, n).

    All that depends on settings and on the count of steps stands here: computed ahead in float64, so that a step sends
    no number to the device.
    """
    move: Callable[[Tensor, Tensor, Memory, Tensor], tuple[Tensor, Memory]]
    """Parameters (batch, ...), the gradient of what is maximised, of the same shape, what is remembered, and numbers
    (batch, n), to the new parameters and what is remembered now. It changes none of its arguments.

    The caller keeps the old ones for pictures whose gradient is not finite.
    """

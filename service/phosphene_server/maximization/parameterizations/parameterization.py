"""What a parameterization is."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parameterization:
    """The numbers that the optimizer moves, and the pictures that they stand for."""

    key: Hashable
    """Pictures whose parameterizations have equal keys are decoded together, by the `decode` of one of them."""
    start: Callable[[torch.Generator], Tensor]
    """Draws the first numbers of one picture, from a generator of the CPU: (...)."""
    decode: Callable[[Tensor], Tensor]
    """Numbers (batch, ...) to pictures (batch, 3, height, width), RGB in [0, 1]; each picture from its own alone."""

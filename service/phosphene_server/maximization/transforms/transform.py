"""What transforms are: geometric ones, noise, and a canvas."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.values.image import ImageSize

Border = Literal["reflect", "gray"]


@dataclass(frozen=True)
class Geometric:
    """A random map of the plane.

    `sampling` says where the result looks in the picture: it takes a position of the result to the position of the
    picture that is shown there. Positions are (column, row, 1) in pixels, (0, 0) is the centre of the picture.
    """

    draws: int
    """How many random numbers it needs, each drawn evenly from [0, 1)."""
    sampling: Callable[[NDArray[np.float64], ImageSize], NDArray[np.float64]]
    """Draws (..., draws) and the size of the picture to matrices (..., 3, 3)."""


@dataclass(frozen=True)
class Photometric:
    """A random change of the values of the pixels, where they are."""

    apply: Callable[[Tensor, Sequence[torch.Generator]], Tensor]
    """Pictures (batch, 3, height, width) and a generator for each, on their device, to pictures of that shape."""


@dataclass(frozen=True)
class Canvas:
    """The sheet on which the picture lies: a margin on each side, in pixels, and what stands beyond the border."""

    margin: int
    border: Border


Transform = Geometric | Photometric | Canvas

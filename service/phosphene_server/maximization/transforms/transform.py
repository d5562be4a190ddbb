"""What transforms are: maps of the plane, changes of pixels, the canvas, and the size at which it is seen."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Literal

import numpy as np
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

    key: Hashable
    """Pictures whose transforms have equal keys are changed together, by the `apply` of one of them."""
    draws: int
    """How many random numbers it needs, each drawn evenly from [0, 1)."""
    numbers: tuple[float, ...]
    """Its settings, in so far as they may differ between transforms of equal keys."""
    apply: Callable[[Tensor, Tensor, Tensor], Tensor]
    """Pictures (batch, 3, height, width), numbers (batch, n) and draws (batch, draws) to pictures of that shape.

    The draws are on the device, and nothing may ask for them: that would stop the step.
    """


@dataclass(frozen=True)
class Canvas:
    """The sheet on which the picture lies: a margin on each side, in pixels, and what stands beyond the border."""

    margin: int
    border: Border


@dataclass(frozen=True)
class Resized:
    """The size at which the network sees the whole canvas."""

    size: ImageSize


Transform = Geometric | Photometric | Canvas | Resized

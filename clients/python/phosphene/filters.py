"""The filters of a layer."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phosphene.pictures import decode

FigureNormalization = Literal["layer", "filter", "symmetric"]


@dataclass(frozen=True)
class FilterStatistics:
    """Numbers about one filter."""

    index: int
    """In the layer, 0-based."""
    norm: float
    """The square root of the sum of its squared weights."""
    minimum: float
    maximum: float
    mean: float
    dead: bool
    """True when its norm is below a thousandth of the median norm of the layer: it answers to nothing."""


@dataclass(frozen=True)
class FilterFigure:
    """How the figure was drawn."""

    encoded: bytes
    """The bytes of the picture's file."""
    caption: str
    """What it shows, for example `conv1: shown 64 of 96`."""
    columns: int
    rows: int
    shown: int
    """The number of tiles that are drawn."""
    total: int
    """The number of tiles that there are: one per filter in colour, otherwise one per filter and channel."""
    color: bool
    enlargement: int
    """The side of one weight, in pixels."""
    low: float | None
    """The weight that is black; None where it differs from filter to filter."""
    high: float | None
    """The weight that is white; None where it differs from filter to filter."""


@dataclass(frozen=True, eq=False)
class Filters:
    """The filters of a layer: exact weights, numbers about each, and a picture of them."""

    weights: NDArray[np.float32]
    """(filter, channel, height, width), or as many spatial axes as the layer has."""
    bias: NDArray[np.float32] | None
    """(filter,); None where the layer has none."""
    indices: tuple[int, ...]
    """Which filters of the layer these are."""
    groups: int
    """The number of groups into which the layer divides its channels."""
    statistics: tuple[FilterStatistics, ...]
    """One for each filter."""
    details: FilterFigure
    """How the figure was drawn."""

    @cached_property
    def figure(self) -> Image.Image:
        """The filters as a picture, one tile each."""
        return decode(self.details.encoded)

    @property
    def caption(self) -> str:
        """What the figure shows."""
        return self.details.caption

    def _repr_png_(self) -> bytes | None:
        data = self.details.encoded
        return data if data.startswith(b"\x89PNG") else None

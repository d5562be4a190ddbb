"""Extracting filters: the request and its response."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from phosphene_server.values.image import EncodedImage, ImageEncoding
from phosphene_server.values.model import ModelReference, Name

FigureNormalization = Literal["layer", "filter", "symmetric"]


@dataclass(frozen=True)
class FigureOptions:
    """How the figure is drawn. `enlargement` None: chosen so that the figure is about 800 pixels wide."""

    normalization: FigureNormalization = "layer"
    enlargement: Annotated[int, Ge(1), Le(64)] | None = None
    tile_limit: Annotated[int, Ge(1), Le(16384)] = 1024
    encoding: ImageEncoding = field(default_factory=ImageEncoding)


@dataclass(frozen=True)
class ExtractFiltersRequest:
    """Asks for the filters of a layer; `filters` empty: all of them."""

    model: ModelReference
    layer: Name
    filters: tuple[Annotated[int, Ge(0)], ...] = ()
    figure: FigureOptions = field(default_factory=FigureOptions)


@dataclass(frozen=True)
class FilterStatistics:
    """Numbers about one filter; `dead` when its norm is below a thousandth of the layer's median norm."""

    index: int
    norm: float
    minimum: float
    maximum: float
    mean: float
    dead: bool


@dataclass(frozen=True)
class FilterFigure:
    """The picture of a layer's filters. `low` and `high` are the weights that are black and white, None if several."""

    image: EncodedImage
    columns: int
    rows: int
    shown: int
    total: int
    color: bool
    enlargement: int
    caption: str
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ExtractFiltersResponse:
    """The filters of a layer: weights (filter, channel, spatial...) and bias (filter), float32."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    filters: tuple[int, ...]
    groups: int
    statistics: tuple[FilterStatistics, ...]
    figure: FilterFigure

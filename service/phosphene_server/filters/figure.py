"""The figure of a layer's filters, as Krizhevsky et al. 2012 drew those of AlexNet and cs231n draws them.

Every filter that reads the colours of the picture is one tile in colour. Any other has one gray tile for each of its
channels, filter after filter. A one-dimensional filter is a row; the slices of a three-dimensional one stand side by
side, a black line between them. A filter of a linear layer, whose weights have no place, is one tile: its weights row
by row in the rectangle nearest to a square that they fill (for a network that reads 28x28 digits, the digit's own
square).
"""

import math

import numpy as np
from numpy.typing import NDArray

from phosphene_server.errors import InvalidArgument
from phosphene_server.pictures.encoding import SIDE_LIMITS, encode
from phosphene_server.pictures.grid import columns_for, grid
from phosphene_server.values.filter import FigureNormalization, FigureOptions, FilterFigure

WIDTH = 800
"""The width of a figure whose enlargement is not given, about, in pixels."""

PIXEL_LIMIT = 32_000_000
"""The largest figure, in pixels. Tiles that would exceed it are cut off."""


def draw_figure(layer: str, weights: NDArray[np.float32], options: FigureOptions, *, color: bool) -> FilterFigure:
    """Draw filters.

    Args:
        layer: The name of the layer, for the caption.
        weights: (filter, channel, spatial...), with 0 to 3 spatial axes, at least one filter.
        options: How the figure is drawn. Fewer tiles than its limit are drawn where they would not fit.
        color: Whether the channels are red, green and blue.

    Raises:
        InvalidArgument: not even one tile fits.
    """
    tiles = _tiles(weights, color=color)
    total, depth, height, width = tiles.shape[:4]
    size = (height, depth * (width + 1) - 1)
    shown = _fitting(min(total, options.tile_limit), size, options.enlargement or 1)
    enlargement = options.enlargement or _enlargement(shown, size)
    owners = np.arange(shown) // (total // len(weights))
    low, high = _range(weights, tiles[:shown], owners, options.normalization)
    drawn = _side_by_side(_bytes(tiles[:shown], low, high))
    columns = columns_for(shown)
    return FilterFigure(
        image=encode(grid(drawn, enlargement=enlargement), options.encoding, field="figure.encoding"),
        columns=columns,
        rows=math.ceil(shown / columns),
        shown=shown,
        total=total,
        color=color,
        enlargement=enlargement,
        caption=_caption(layer, weights, shown=shown, total=total),
        low=float(low[0]) if options.normalization != "filter" else None,
        high=float(high[0]) if options.normalization != "filter" else None,
    )


def _tiles(weights: NDArray[np.float32], *, color: bool) -> NDArray[np.float32]:
    """Return (tile, slice, height, width), in colour with an axis of 3 behind it."""
    filters, channels, *spatial = weights.shape
    if color:
        return weights.transpose(0, 2, 3, 1)[:, np.newaxis]
    if not spatial:
        height = next(rows for rows in range(math.isqrt(channels), 0, -1) if channels % rows == 0)
        return weights.reshape(filters, 1, height, channels // height)
    axes = (1,) * (3 - len(spatial))
    return weights.reshape(filters * channels, *axes, *spatial)


def _range(
    weights: NDArray[np.float32], tiles: NDArray[np.float32], owners: NDArray[np.intp], how: FigureNormalization
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weights that are black and that are white, (tile) or (1) when they are the same for all tiles.

    Args:
        weights: The filters.
        tiles: The tiles that are drawn.
        owners: The filter that each of them belongs to.
        how: What is compared.
    """
    if how == "filter":
        # Over all channels of the filter, also over those that are cut off.
        flat = weights.reshape(len(weights), -1).astype(np.float64)
        return flat.min(axis=1)[owners], flat.max(axis=1)[owners]
    low, high = np.array([tiles.min()], np.float64), np.array([tiles.max()], np.float64)
    if how == "symmetric":
        high = np.maximum(high, -low)
        low = -high
    return low, high


def _bytes(tiles: NDArray[np.float32], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Turn weights into brightness; where all are equal they are middle gray."""
    each = (-1, *(1,) * (tiles.ndim - 1))
    span = np.where(high > low, high - low, 1.0).reshape(each)
    middle = ((low + high) / 2).reshape(each)
    return np.floor(((tiles - middle) / span + 0.5) * 255 + 0.5).astype(np.uint8)


def _side_by_side(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put the slices of each tile into a row with a black line between them: (tile, height, width)."""
    count, depth, height, width = tiles.shape[:4]
    lined = np.zeros((count, height, depth, width + 1, *tiles.shape[4:]), np.uint8)
    lined[:, :, :, :width] = tiles.swapaxes(1, 2)
    return lined.reshape(count, height, depth * (width + 1), *tiles.shape[4:])[:, :, :-1]


def _fitting(tiles: int, size: tuple[int, int], enlargement: int) -> int:
    """Return how many of the tiles can be drawn."""
    shown = tiles
    while shown > 0 and not _fits(shown, size, enlargement):
        shown = (columns_for(shown) - 1) ** 2
    if shown == 0:
        value = f"{enlargement} for filters of {size[0]} x {size[1]} weights"
        raise InvalidArgument("figure.enlargement", value, f"a figure of at most {PIXEL_LIMIT:,} pixels")
    return shown


def _fits(tiles: int, size: tuple[int, int], enlargement: int) -> bool:
    height, width = _figure_size(tiles, size)
    sides = (height * enlargement, width * enlargement)
    return max(sides) <= min(SIDE_LIMITS.values()) and math.prod(sides) <= PIXEL_LIMIT


def _figure_size(tiles: int, size: tuple[int, int]) -> tuple[int, int]:
    columns = columns_for(tiles)
    return math.ceil(tiles / columns) * (size[0] + 1) - 1, columns * (size[1] + 1) - 1


def _enlargement(tiles: int, size: tuple[int, int]) -> int:
    """Return the enlargement that makes a figure about `WIDTH` wide and lets it fit."""
    wanted = min(64, round(WIDTH / _figure_size(tiles, size)[1]))
    return next((side for side in range(wanted, 1, -1) if _fits(tiles, size, side)), 1)


def _caption(layer: str, weights: NDArray[np.float32], *, shown: int, total: int) -> str:
    if shown < total:
        return f"{layer}: shown {shown} of {total}"
    filters, *shape = weights.shape
    return f"{layer}: {filters} {'filter' if filters == 1 else 'filters'} of {'x'.join(map(str, shape))}"

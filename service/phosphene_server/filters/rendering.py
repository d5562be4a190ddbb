"""Responses as pictures: blue below zero, white at zero, red above."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phosphene_server.models.preprocessing import LUMA
from phosphene_server.pictures.diverging import diverging, diverging_palette, relative
from phosphene_server.pictures.encoding import encode
from phosphene_server.pictures.grid import grid
from phosphene_server.pictures.strips import strips
from phosphene_server.values.image import EncodedImage
from phosphene_server.values.kernel import Extent, KernelResponse, ResponseRendering

_ENCODING = "rendering.encoding"

_FULL_COLOUR_QUANTILE = 0.995
"""The share of positions below the default scale. The largest response would leave a photo pale for a few pixels."""

_SAMPLED = 1009
"""Of the sizes of responses, one in so many tells about how large the largest are."""

_OVERLAY_COLOUR = 0.8
"""Where on the scale of colours those of the overlay are: at its very ends they are nearly black."""

_BLACK = np.float32(0.35)
"""How bright the black of the picture is in the overlay, so that blue and red stand out from it."""


@dataclass(frozen=True)
class Placement:
    """Where the positions of a response lie on the picture: `first + stride * index`, along each axis."""

    first: tuple[int, int]
    stride: Extent


def render(
    values: NDArray[np.float32], picture: NDArray[np.float32], placement: Placement, rendering: ResponseRendering
) -> KernelResponse:
    """Draw a response, alone and laid over its picture.

    Args:
        values: (channel, height, width), finite; several channels are drawn as tiles.
        picture: (channel, height, width), [0, 1] is black to white.
        placement: Where the response lies on the picture.
        rendering: How it is drawn.

    Returns:
        The response. Its scale is 0 where none was asked for and the response is zero everywhere; all is white then.
    """
    scale = rendering.scale if rendering.scale is not None else _default_scale(values)
    with ThreadPoolExecutor(1, thread_name_prefix="overlay") as other:
        # Both at once: NumPy and Pillow release the interpreter lock, and to compress takes longest.
        overlay = other.submit(_overlay, values, picture, placement, rendering, scale) if rendering.overlay else None
        drawn = grid(diverging(values, scale=scale))
        return KernelResponse(
            values=values,
            picture=encode(drawn, rendering.encoding, palette=diverging_palette(), field=_ENCODING),
            overlay=overlay.result() if overlay else None,
            scale=scale,
        )


def _default_scale(values: NDArray[np.float32]) -> float:
    """Return the absolute response below which nearly all lie; the largest where that would be zero."""
    sizes = np.abs(values).ravel()
    above = sizes.size - int(_FULL_COLOUR_QUANTILE * (sizes.size - 1))
    largest = _largest(sizes, above)
    place = largest.size - above
    return float(np.partition(largest, place)[place] or sizes.max())


def _largest(sizes: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Return all sizes from some size on, at least so many; few enough, mostly, to be partitioned at no cost."""
    sample = sizes[::_SAMPLED]
    place = max(0, sample.size - 2 - 2 * count // _SAMPLED)
    largest = sizes[sizes >= np.partition(sample, place)[place]]
    return largest if largest.size >= count else sizes


def _overlay(
    values: NDArray[np.float32],
    picture: NDArray[np.float32],
    placement: Placement,
    rendering: ResponseRendering,
    scale: float,
) -> EncodedImage:
    """Return the response laid over its picture.

    The picture is gray and bright there, so that red and blue belong to the response. Its colour is that of its sign
    and covers the picture the more, the larger the response is, up to the opacity at the scale. One response is brought
    to the size of the picture, each pixel taking the nearest position; where there are several, the picture is brought
    to the size of the response, so that their tiles stay small.
    """
    ground = _ground(picture)
    if len(values) == 1:
        values = _brought(values[0], ground.shape, placement)[np.newaxis]
    else:
        ground = _under(ground, values.shape[1:], placement)
    tiles = np.empty((*values.shape, 3), np.uint8)
    for rows in strips(*ground.shape):
        for tile, response in zip(tiles, values, strict=True):
            sizes = relative(np.abs(response[rows]), scale=scale).astype(np.float32)
            covers = np.float32(rendering.overlay_opacity) * np.sqrt(sizes)  # the root, because most are small
            _blend(response[rows] < 0, covers, ground[rows], out=tile[rows])
    return encode(grid(tiles), rendering.encoding, field=_ENCODING)


def _blend(
    negative: NDArray[np.bool_], covers: NDArray[np.float32], ground: NDArray[np.float32], *, out: NDArray[np.uint8]
) -> None:
    """Lay the colour of the sign of each value over the ground, all (height, width), into (height, width, 3)."""
    signs = diverging(np.array([[-1, 1]], np.float32), scale=1 / _OVERLAY_COLOUR)
    colors = diverging_palette()[signs[0]].astype(np.float32)
    # All is in [0, 255] then, so that to cut off what half a level exceeds is to round.
    bare = ground * (1 - covers) * np.float32(255) + np.float32(0.5)
    chosen = negative.astype(np.float32)
    for channel, (below, above) in enumerate(colors.T):
        out[:, :, channel] = (above + (below - above) * chosen) * covers + bare  # np.where takes eight times as long


def _ground(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the response is laid over: the picture in gray, (height, width), its black lifted."""
    shares = np.asarray(LUMA, np.float32) if len(picture) == 3 else np.full(len(picture), 1 / len(picture), np.float32)
    lifted = np.empty(picture.shape[1:], np.float32)
    for rows in strips(*picture.shape[1:]):
        gray = np.tensordot(shares, picture[:, rows], axes=1)
        lifted[rows] = _BLACK + (1 - _BLACK) * np.clip(gray, 0, 1)
    return lifted


def _brought(values: NDArray[np.float32], size: tuple[int, ...], placement: Placement) -> NDArray[np.float32]:
    """Return for each pixel of a picture the response at the nearest position, 0 where no position stands for it."""
    if values.shape == size:
        return values
    rows, columns = _nearest(values.shape, size, placement)
    return values[rows][:, columns] * np.outer(rows >= 0, columns >= 0)


def _nearest(length: tuple[int, ...], size: tuple[int, ...], placement: Placement) -> list[NDArray[np.intp]]:
    """Return for each axis the position nearest to each pixel; -1 for pixels that no position stands for."""
    strides = (placement.stride.rows, placement.stride.columns)
    indices = []
    for axis in (0, 1):
        offsets = np.arange(size[axis]) - placement.first[axis]
        nearest = np.floor(offsets / strides[axis] + 0.5).astype(np.intp)
        indices.append(np.where((nearest >= 0) & (nearest < length[axis]), nearest, -1))
    return indices


def _under(picture: NDArray[np.float32], size: tuple[int, ...], placement: Placement) -> NDArray[np.float32]:
    """Return the pixels of the picture on which the positions of the response lie."""
    rows, columns = placement.first
    return picture[rows :: placement.stride.rows, columns :: placement.stride.columns][: size[0], : size[1]]

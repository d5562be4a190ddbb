"""Responses as pictures: blue below zero, white at zero, red above."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phosphene_server.models.preprocessing import LUMA
from phosphene_server.pictures.diverging import diverging, relative
from phosphene_server.pictures.encoding import encode, to_bytes
from phosphene_server.pictures.grid import grid
from phosphene_server.values.kernel import Extent, KernelResponse, ResponseRendering

_ENCODING = "rendering.encoding"

_FULL_COLOUR_QUANTILE = 0.995
"""The share of positions below the default scale. The largest response would leave a photo pale for a few pixels."""


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
    tiles = diverging(values, scale=scale)
    overlay = _overlay(values, picture, placement, scale=scale, opacity=rendering.overlay_opacity)
    return KernelResponse(
        values=values,
        picture=encode(grid(tiles), rendering.encoding, field=_ENCODING),
        overlay=encode(grid(overlay), rendering.encoding, field=_ENCODING) if rendering.overlay else None,
        scale=scale,
    )


def _default_scale(values: NDArray[np.float32]) -> float:
    """Return the absolute response below which nearly all lie; the largest where that would be zero."""
    sizes = np.abs(values).ravel()
    place = int(_FULL_COLOUR_QUANTILE * (sizes.size - 1))
    return float(np.partition(sizes, place)[place] or sizes.max())


def _overlay(
    values: NDArray[np.float32],
    picture: NDArray[np.float32],
    placement: Placement,
    *,
    scale: float,
    opacity: float,
) -> NDArray[np.uint8]:
    """Return the response laid over its picture, (tile, height, width, 3).

    The picture is gray and bright there, so that red and blue belong to the response. Its colour is that of its sign
    and covers the picture the more, the larger the response is, up to `opacity` at the scale. One response is brought
    to the size of the picture, each pixel taking the nearest position; where there are several, the picture is brought
    to the size of the response, so that their tiles stay small.
    """
    ground = _ground(picture)
    if len(values) == 1:
        rows, columns = _nearest(values.shape[1:], ground.shape[1:], placement)
        values = values[:, rows][:, :, columns]
        reached = np.outer(rows >= 0, columns >= 0)
    else:
        ground = _under(ground, values.shape[1:], placement)
        reached = np.ones(values.shape[1:], bool)
    sizes = relative(np.abs(values), scale=scale).astype(np.float32)
    covers = np.float32(opacity) * np.sqrt(sizes) * reached  # the root, because most responses are small
    colors = diverging(np.sign(values), scale=1 / _OVERLAY_COLOUR).transpose(0, 3, 1, 2).astype(np.float32) / 255
    return np.stack(
        [to_bytes(color * cover + ground * (1 - cover)) for color, cover in zip(colors, covers, strict=True)]
    )


def _ground(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what the response is laid over: the picture in gray, (1, height, width), its black lifted."""
    gray = (
        np.tensordot(np.asarray(LUMA, np.float32), picture, axes=1)[None]
        if len(picture) == 3
        else picture.mean(axis=0, keepdims=True)
    )
    lifted: NDArray[np.float32] = _BLACK + (1 - _BLACK) * np.clip(gray, 0, 1)
    return lifted


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
    lattice = picture[:, rows :: placement.stride.rows, columns :: placement.stride.columns]
    return lattice[:, : size[0], : size[1]]

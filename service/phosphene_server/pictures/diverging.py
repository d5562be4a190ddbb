"""Numbers below and above zero as colours: blue, white at zero, red.

The colours are the eleven of ColorBrewer's RdBu, reversed (Brewer and Harrower, https://colorbrewer2.org, 2003), whose
lightness falls evenly and alike on both sides, so that equal sizes look equally strong, also to the colour-blind. Its
middle, f7f7f7, is replaced by white, so that what does not answer is exactly white.
"""

import numpy as np
from numpy.typing import NDArray

from phosphene_server.pictures.strips import strips

_ANCHORS = (
    (0x05, 0x30, 0x61),
    (0x21, 0x66, 0xAC),
    (0x43, 0x93, 0xC3),
    (0x92, 0xC5, 0xDE),
    (0xD1, 0xE5, 0xF0),
    (0xFF, 0xFF, 0xFF),
    (0xFD, 0xDB, 0xC7),
    (0xF4, 0xA5, 0x82),
    (0xD6, 0x60, 0x4D),
    (0xB2, 0x18, 0x2B),
    (0x67, 0x00, 0x1F),
)
_LEVELS = 125
"""Steps of colour on each side of zero: with white and black the colours are fewer than the 256 that a palette holds,
with which a PNG is a third as large and compressed seven times faster. A step changes no channel by more than 4."""


def diverging(values: NDArray[np.float32], *, scale: float) -> NDArray[np.uint8]:
    """Colour numbers by sign and size.

    Args:
        values: (..., height, width), finite.
        scale: The absolute value that gets the full colour; what exceeds it gets it too. 0: everything is white.

    Returns:
        Indices into `diverging_palette`, the shape of `values`.
    """
    indices = np.empty(values.shape, np.uint8)
    for rows in strips(*values.shape[-2:]):
        indices[..., rows, :] = np.rint(relative(values[..., rows, :], scale=scale) * _LEVELS) + (1 + _LEVELS)
    return indices


def diverging_palette() -> NDArray[np.uint8]:
    """Return the colours, (color, 3) RGB: from blue over white to red, interpolated between the anchors.

    The first is black, which no number has: it is for what is no number, as the lines of `grid`.
    """
    positions = np.linspace(-1, 1, len(_ANCHORS))
    levels = np.arange(-_LEVELS, _LEVELS + 1) / _LEVELS
    channels = [np.interp(levels, positions, channel) for channel in np.array(_ANCHORS).T]
    colors = np.floor(np.stack(channels, axis=1) + 0.5).astype(np.uint8)
    return np.concatenate([np.zeros((1, 3), np.uint8), colors])


def relative(values: NDArray[np.float32], *, scale: float) -> NDArray[np.float64]:
    """Return values over scale, in [-1, 1]; all 0 where the scale is 0."""
    if scale == 0:
        return np.zeros(values.shape)
    # In float64, for a scale may be smaller than the smallest float32; even then a quotient may become infinite.
    with np.errstate(over="ignore"):
        return np.clip(np.divide(values, scale, dtype=np.float64), -1, 1)

"""Numbers below and above zero as colours: blue, white at zero, red.

The colours are the eleven of ColorBrewer's RdBu, reversed (Brewer and Harrower, https://colorbrewer2.org, 2003), whose
lightness falls evenly and alike on both sides, so that equal sizes look equally strong, also to the colour-blind. Its
middle, f7f7f7, is replaced by white, so that what does not answer is exactly white.
"""

import numpy as np
from numpy.typing import NDArray

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
_LEVELS = 255
"""Steps of colour on each side of zero."""


def diverging(values: NDArray[np.float32], *, scale: float) -> NDArray[np.uint8]:
    """Colour numbers by sign and size.

    Args:
        values: Any shape, finite.
        scale: The absolute value that gets the full colour; what exceeds it gets it too. 0: everything is white.

    Returns:
        RGB, the shape of `values` with an axis of 3 behind it.
    """
    levels = np.rint(relative(values, scale=scale) * _LEVELS).astype(np.intp)
    colors: NDArray[np.uint8] = _table()[levels + _LEVELS]
    return colors


def relative(values: NDArray[np.float32], *, scale: float) -> NDArray[np.float64]:
    """Return values over scale, in [-1, 1]; all 0 where the scale is 0."""
    if scale == 0:
        return np.zeros(values.shape)
    # In float64, for a scale may be smaller than the smallest float32; even then a quotient may become infinite.
    with np.errstate(over="ignore"):
        return np.clip(np.divide(values, scale, dtype=np.float64), -1, 1)


def _table() -> NDArray[np.uint8]:
    """Return the colour of every level, (2 * _LEVELS + 1, 3), interpolated between the anchors."""
    positions = np.linspace(-1, 1, len(_ANCHORS))
    levels = np.arange(-_LEVELS, _LEVELS + 1) / _LEVELS
    channels = [np.interp(levels, positions, channel) for channel in np.array(_ANCHORS).T]
    return np.floor(np.stack(channels, axis=1) + 0.5).astype(np.uint8)

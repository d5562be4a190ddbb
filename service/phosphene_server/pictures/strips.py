"""Large pictures a few rows at a time."""

from collections.abc import Iterator

_PIXELS = 2**16
"""Pixels of a strip: 512 KB of float64, so that what is computed step by step stays in the cache of a core."""


def strips(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of the strips of a picture, from the top down."""
    step = max(1, _PIXELS // width)
    for first in range(0, height, step):
        yield slice(first, min(first + step, height))

"""Many tiles as one picture."""

import math

import numpy as np
from numpy.typing import NDArray


def columns_for(tiles: int) -> int:
    """Return ceil(sqrt(tiles)), the columns of the smallest square grid that holds them."""
    return math.isqrt(tiles - 1) + 1


def grid(tiles: NDArray[np.uint8], *, enlargement: int = 1) -> NDArray[np.uint8]:
    """Lay tiles out in rows of ceil(sqrt(N)), with black lines one pixel wide between them and empty cells black.

    The lines are drawn first and enlarged with the tiles, as in the figures of Caffe and cs231n, so that one weight
    and one line are equally wide.

    Args:
        tiles: (tile, height, width) gray or (tile, height, width, 3) RGB, at least one.
        enlargement: The side of one pixel of a tile in the picture.

    Returns:
        The picture, (rows * (height + 1) - 1) * enlargement high and (columns * (width + 1) - 1) * enlargement wide.
    """
    if len(tiles) == 1 and enlargement == 1:
        return tiles.squeeze(0)
    count, height, width = tiles.shape[:3]
    columns = columns_for(count)
    rows = math.ceil(count / columns)
    cells = np.zeros((rows * columns, height + 1, width + 1, *tiles.shape[3:]), np.uint8)
    cells[:count, :height, :width] = tiles
    picture = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    picture = picture.reshape(rows * (height + 1), columns * (width + 1), *tiles.shape[3:])[:-1, :-1]
    return picture.repeat(enlargement, axis=0).repeat(enlargement, axis=1)

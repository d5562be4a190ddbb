"""Kernels that are the outer product of a column and a row.

Sliding such a kernel of r rows and c columns takes r + c additions for each pixel instead of r * c.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_WHOLE = 2.0**24
"""Kernels of whole numbers up to this, times a power of two, have factors of whole numbers."""

TOLERANCE = 2.0**-50
"""How far the numbers of a kernel may be from the product of its factors, all together, relative to all of them.

No response is off by more than this share of what the kernel could answer to so bright a picture: a few units in the
last place of float64, as the rounding of the sums themselves.
"""


def outer_factors(kernels: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the column and the row whose outer product a kernel is; None where there are none, or several kernels.

    The factors of whole numbers are whole numbers (those of `kernel * 2**n`, whole numbers times a power of two), so
    that sums stay as exact as those of the kernel itself.

    Args:
        kernels: float64 (filter, channel, height, width), in main memory.

    Returns:
        float64 (height) and (width).
    """
    if kernels.shape[:2] != (1, 1) or 1 in kernels.shape[2:] or not kernels.any():
        return None
    numbers = kernels[0, 0].numpy()
    at = np.unravel_index(np.abs(numbers).argmax(), numbers.shape)
    row = _primitive(numbers[at[0]]) if whole(numbers) else numbers[at[0]] / numbers[at]
    column = numbers[:, at[1]] / row[at[1]]
    error = np.abs(numbers - np.outer(column, row)).sum()
    if not error <= TOLERANCE * np.abs(numbers).sum():
        return None
    return torch.from_numpy(column), torch.from_numpy(row)


def _scaled(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers times the power of two that brings the largest just below `_WHOLE`."""
    exponent = int(np.frexp(np.abs(numbers).max())[1])
    return np.ldexp(numbers, int(np.log2(_WHOLE)) - exponent)


def whole(numbers: NDArray[np.float64]) -> bool:
    """Return whether all numbers are whole, up to 2**24, times one power of two."""
    if not numbers.any():
        return True
    scaled = _scaled(numbers)
    return bool((scaled == np.rint(scaled)).all())


def _primitive(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a row of whole numbers, times a power of two, as whole numbers without a common divisor."""
    integers = _scaled(row).astype(np.int64)
    primitive: NDArray[np.float64] = (integers // np.gcd.reduce(integers)).astype(np.float64)
    return primitive

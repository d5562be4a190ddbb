"""How far two arrays are apart, and how far is too far."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

TOLERANCE = 1e-3
"""Largest deviation that is accepted in float32, relative to the largest output. Two runtimes that add float32 numbers
in different orders stay a hundred times below it."""
HALF_TOLERANCE = 2e-2
"""The same where the original computes in float16, which has steps of 1e-3, and the graph perhaps in float32."""
BFLOAT16_TOLERANCE = 1e-1
"""The same for bfloat16, with steps of 8e-3."""
QUANTIZED_TOLERANCE = 1e-1
"""The same for networks that round to 8 bits: a number just between two steps falls to either side, a step is 1/255 of
the range, and the layers behind it see the difference."""
FLOOR = 1e-6
"""Deviation that is accepted whatever the scale: the outputs may be zeros."""

Array = NDArray[Any]


def array_of(tensor: Tensor) -> Array:
    """Return the numbers of a tensor; numpy has no bfloat16, so those become float32."""
    values = tensor.detach().cpu()
    array: Array = (values.float() if values.is_floating_point() and values.itemsize < 4 else values).numpy()
    return array


def deviation(ours: Array, theirs: Array) -> float:
    """Return the largest absolute difference; infinite where the shapes or the places of NaN differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    first, second = ours.astype(np.float64), theirs.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):  # the difference of two infinities is looked at only where they differ
        difference = np.where(same, 0.0, np.abs(first - second))
    return float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max(initial=0.0))


def scale(values: Array) -> float:
    """Return the largest magnitude; what is no finite number does not count."""
    return float(np.nan_to_num(np.abs(values.astype(np.float64)), nan=0.0, posinf=0.0).max(initial=0.0))


def agrees(difference: float, largest: float, tolerance: float) -> bool:
    """Tell whether a deviation is small beside the largest magnitude of the original."""
    return difference <= tolerance * largest + FLOOR

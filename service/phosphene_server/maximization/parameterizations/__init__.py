"""How a picture is made of the numbers that the optimizer moves.

One file for each parameterization, each with one factory. The choice decides which pictures are near one another, so
which of the many answers the ascent finds.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from phosphene_server.maximization.parameterizations.fourier import fourier
from phosphene_server.maximization.parameterizations.parameterization import Parameterization
from phosphene_server.maximization.parameterizations.pixels import pixels
from phosphene_server.values import maximization as values
from phosphene_server.values.image import ImageSize

__all__ = ["PARAMETERIZATIONS", "Parameterization", "fourier", "make_parameterization", "pixels"]

PARAMETERIZATIONS: Mapping[str, Callable[[Any, ImageSize, torch.dtype, torch.device], Parameterization]] = {
    "fourier": lambda value, size, dtype, device: fourier(
        size=size,
        standard_deviation=value.standard_deviation,
        decay=value.decay,
        decorrelate_colors=value.decorrelate_colors,
        dtype=dtype,
        device=device,
    ),
    "pixels": lambda value, size, dtype, device: pixels(
        size=size,
        standard_deviation=value.standard_deviation,
        decorrelate_colors=value.decorrelate_colors,
        dtype=dtype,
        device=device,
    ),
}
"""The kind of a value, and how the parameterization is made of it."""


def make_parameterization(
    value: values.Parameterization, *, size: ImageSize, dtype: torch.dtype, device: torch.device
) -> Parameterization:
    """Make the parameterization that a request describes."""
    return PARAMETERIZATIONS[value.kind](value, size, dtype, device)

"""Random changes that the picture undergoes before the network sees it, new at every step.

Only what survives them is drawn (transformation robustness: Olah, Mordvintsev and Schubert, Feature Visualization,
2017). `maximize(transforms=None)` takes the server's default set, `transforms=[]` none at all.
"""

from dataclasses import dataclass
from typing import Literal

Border = Literal["reflect", "gray"]


@dataclass(frozen=True)
class Jitter:
    """A shift along both axes."""

    pixels: float | None = None
    fraction: float | None = None


@dataclass(frozen=True)
class Scale:
    """A change of size; None: 1."""

    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Rotate:
    """A rotation about the centre."""

    degrees: float


@dataclass(frozen=True)
class Noise:
    """Normally distributed noise on every pixel."""

    standard_deviation: float


@dataclass(frozen=True)
class Pad:
    """A margin around the picture."""

    pixels: int
    border: Border = "reflect"


@dataclass(frozen=True)
class Resize:
    """The size at which the network sees the picture."""

    size: tuple[int, int]
    """(height, width)."""


Transform = Jitter | Scale | Rotate | Noise | Pad | Resize


def jitter(*, pixels: float | None = None, fraction: float | None = None) -> Jitter:
    """Shift by an amount drawn evenly from [-limit, limit], for each axis.

    Args:
        pixels: The limit in pixels.
        fraction: The limit as a share of the height and width, 0 to 1. Exactly one of the two is given.
    """
    if (pixels is None) == (fraction is None):
        raise TypeError("jitter takes exactly one of pixels and fraction")
    return Jitter(pixels, fraction)


def scale(*, minimum: float, maximum: float) -> Scale:
    """Enlarge about the centre by a factor whose logarithm is drawn evenly; both factors lie between 0.1 and 10."""
    return Scale(minimum, maximum)


def rotate(*, degrees: float) -> Rotate:
    """Rotate about the centre by an angle drawn evenly from [-degrees, degrees], at most 180."""
    return Rotate(degrees)


def noise(*, standard_deviation: float) -> Noise:
    """Add normally distributed noise; 1 is the distance from black to white."""
    return Noise(standard_deviation)


def pad(*, pixels: int, border: Border = "reflect") -> Pad:
    """Put a margin of so many pixels on each side; `border` is what stands there, and beyond any moved border."""
    return Pad(pixels, border)


def resize(*, height: int, width: int) -> Resize:
    """Show the network the picture, with its margins, at this size; drawn in one sampling with the other transforms."""
    return Resize((height, width))

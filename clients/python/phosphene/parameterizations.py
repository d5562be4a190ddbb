"""How a picture is made of the numbers that the optimizer moves. A setting that is None is left to the server."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fourier:
    """The picture as the inverse Fourier transform of a spectrum."""

    standard_deviation: float | None = None
    decay: float | None = None
    decorrelate_colors: bool | None = None


@dataclass(frozen=True)
class Pixels:
    """The picture as its pixels."""

    standard_deviation: float | None = None
    decorrelate_colors: bool | None = None


Parameterization = Fourier | Pixels


def fourier(
    *, standard_deviation: float | None = None, decay: float | None = None, decorrelate_colors: bool | None = None
) -> Fourier:
    """A spectrum, each frequency moving at its own natural rate: smooth, large forms come first.

    Args:
        standard_deviation: Of the initial spectrum, 0 to 10. Default: 0.01.
        decay: The power of the frequency by which the spectrum is divided, 0 to 3. Default: 1.5.
        decorrelate_colors: Move the colours along the independent directions of natural pictures. Default: True.

    References:
        Olah, Mordvintsev and Schubert, Feature Visualization, https://distill.pub/2017/feature-visualization, 2017.
    """
    return Fourier(standard_deviation, decay, decorrelate_colors)


def pixels(*, standard_deviation: float | None = None, decorrelate_colors: bool | None = None) -> Pixels:
    """The pixels themselves: fine texture comes first; useful to see what a parameterization hides.

    Args:
        standard_deviation: Of the initial pixels, 0 to 10. Default: 0.01.
        decorrelate_colors: Move the colours along the independent directions of natural pictures. Default: True.
    """
    return Pixels(standard_deviation, decorrelate_colors)

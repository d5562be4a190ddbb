"""Colours: float32 RGB in [0, 1], shape (picture, 3, 1, 1), and fields of coloured noise."""

from math import pi

import torch
from torch import Tensor

from training.shapes.sampling import chance, sign, uniform

HUES: dict[str, tuple[float, float]] = {
    "red": (-12, 10),
    "yellow": (48, 64),
    "green": (100, 145),
    "blue": (210, 245),
}
"""From and to, in degrees of the colour circle."""

OPPONENTS: tuple[tuple[float, float, float], ...] = ((1, 1, 1), (1, -1, 0), (-0.5, -0.5, 1))
"""Directions in RGB along which two colours differ: light and dark, red and green, blue and yellow."""


def from_hue(hue_degrees: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """RGB of a colour given by hue, saturation and value, each of shape (picture, 1, 1)."""
    offset = torch.tensor([5.0, 3.0, 1.0])[:, None, None]  # red, green, blue
    place = (offset + hue_degrees[:, None] / 60) % 6
    weight = torch.minimum(place, 4 - place).clamp(0, 1)
    return value[:, None] * (1 - saturation[:, None] * weight)


def pair(count: int, lightness: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two colours per picture that differ clearly along one of the `OPPONENTS`.

    Pairs that differ in hue and hardly in lightness are needed: without them the network could do with grey filters
    alone. Pairs of independent colours would do as well for the classes, but eyes and first layers that look at
    nature find these three axes, and data without axes leaves filters of every mixture.

    Args:
        count: how many pairs.
        lightness: the share of pairs that differ in lightness, in [0, 1]; the other two axes halve the rest.
        generator: the random stream.
    """
    axes = torch.tensor(OPPONENTS)
    chosen = torch.multinomial(
        torch.tensor([lightness, (1 - lightness) / 2, (1 - lightness) / 2]),
        count,
        replacement=True,
        generator=generator,
    )
    difference = axes[chosen][:, :, None, None] * uniform(count, 0.35, 0.9, generator)[:, None]
    difference = difference * sign(count, generator)[:, None]
    # The middle of the two is anywhere that leaves both inside the cube of colours; half of the middles are grey.
    room = 1 - difference.abs()
    middle = torch.rand(count, 3, 1, 1, generator=generator)
    middle = torch.where(chance(count, 0.5, generator)[:, None], middle[:, :1], middle)
    middle = 0.5 + room * (middle - 0.5)
    return middle - difference / 2, middle + difference / 2


def named_pair(name: str, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A background without the named hue, and a strong colour of that hue."""
    low, high = HUES[name]
    hue = uniform(count, low, high, generator)
    colour = from_hue(hue, uniform(count, 0.8, 1, generator), uniform(count, 0.65, 1, generator))
    other_hue = hue + uniform(count, 75, 285, generator)
    faint = chance(count, 0.5, generator)
    saturation = torch.where(faint, uniform(count, 0, 0.15, generator), uniform(count, 0.3, 1, generator))
    return from_hue(other_hue, saturation, uniform(count, 0.1, 1, generator)), colour


def clouds(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Coloured noise whose amplitude falls with 1 / frequency, as in photographs.

    Returns:
        Float32 of shape (picture, 3, size, size), mean 0 and standard deviation about 1; lightness varies more than
        hue, as in photographs too.
    """
    rows = torch.fft.fftfreq(size)[:, None]
    columns = torch.fft.rfftfreq(size)[None, :]
    amplitude = 1 / torch.hypot(rows, columns).clamp(min=1 / size)
    amplitude[0, 0] = 0
    phase = 2 * pi * torch.rand(count, 3, *amplitude.shape, generator=generator)
    field: Tensor = torch.fft.irfft2(torch.polar(amplitude.expand_as(phase), phase), s=(size, size))
    field = field / field.std(dim=(-2, -1), keepdim=True)
    return 0.7 * field[:, :1] + 0.7 * field

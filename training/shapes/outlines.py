"""Single things in the middle of the picture. Each function returns a signed distance in pixels, negative inside.

They stay roughly upright. A star in all rotations is learnt as easily, but the picture that excites its class the most
is then a tangle of stars in all rotations, and nobody would see the star.
"""

from math import cos, pi, sin, sqrt

import torch
from torch import Tensor

from training.shapes.canvas import Canvas
from training.shapes.sampling import chance, sign, uniform

Corners = list[tuple[float, float]]
"""(across, down) of each corner in turn, the whole about one unit away from the origin."""

_FIVE_POINTS: Corners = [
    (
        (1.1 if corner % 2 == 0 else 0.46) * sin(corner * pi / 5),
        (-1.1 if corner % 2 == 0 else -0.46) * cos(corner * pi / 5),
    )
    for corner in range(10)
]
_PLUS: Corners = [
    (-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3),
    (0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3),
]  # fmt: skip
_THREE_SIDES: Corners = [(0, -1.05), (1.05, 0.8), (-1.05, 0.8)]
_FOUR_SIDES: Corners = [(-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)]
_ARROW: Corners = [(0, -1.1), (0.85, -0.15), (0.3, -0.15), (0.3, 1.05), (-0.3, 1.05), (-0.3, -0.15), (-0.85, -0.15)]


def _placed(canvas: Canvas, most_degrees: float) -> tuple[Canvas, Tensor]:
    """A random place, turn and proportion; also the radius in pixels, between 20 % and 42 % of the picture's width."""
    width = canvas.across.shape[-1]
    placed = canvas.moved(width / 10).turned(-most_degrees, most_degrees).stretched(1.12)
    return placed, width * uniform(canvas.count, 0.2, 0.42, canvas.generator)


def _line_or_filled(distance: Tensor, canvas: Canvas) -> Tensor:
    """Leaves only the line, three to six pixels wide, in one picture out of four."""
    line = distance.abs() - uniform(canvas.count, 1.5, 3, canvas.generator)
    return torch.where(chance(canvas.count, 0.25, canvas.generator), line, distance)


def _to_polygon(across: Tensor, down: Tensor, corners: Corners) -> Tensor:
    """Signed distance to a polygon, in the units of its corners.

    References:
        Inigo Quilez, "2D distance functions", https://iquilezles.org/articles/distfunctions2d (polygon).
    """
    nearest = torch.full_like(across, torch.inf)
    inside = torch.zeros_like(across, dtype=torch.bool)
    for (a, b), (c, d) in zip(corners, corners[-1:] + corners[:-1], strict=True):
        along = ((across - a) * (c - a) + (down - b) * (d - b)) / ((c - a) ** 2 + (d - b) ** 2)
        along = along.clamp(0, 1)
        nearest = torch.minimum(nearest, (across - a - along * (c - a)) ** 2 + (down - b - along * (d - b)) ** 2)
        if b != d:  # Even-odd rule: count the sides that a ray to the right would cross.
            crosses = ((b > down) != (d > down)) & (across < (c - a) * (down - b) / (d - b) + a)
            inside = inside ^ crosses
    return nearest.sqrt() * torch.where(inside, -1.0, 1.0)


def _polygon(canvas: Canvas, corners: Corners, most_degrees: float) -> Tensor:
    placed, radius = _placed(canvas, most_degrees)
    distance = _to_polygon(placed.across / radius, placed.down / radius, corners) * radius
    return _line_or_filled(distance, canvas)


def star(canvas: Canvas) -> Tensor:
    """A star with five points, one of them up."""
    return _polygon(canvas, _FIVE_POINTS, 15)


def cross(canvas: Canvas) -> Tensor:
    """A plus sign with broad arms."""
    return _polygon(canvas, _PLUS, 18)


def triangle(canvas: Canvas) -> Tensor:
    """A triangle that stands on one side."""
    return _polygon(canvas, _THREE_SIDES, 20)


def square(canvas: Canvas) -> Tensor:
    """A square that stands on one side."""
    return _polygon(canvas, _FOUR_SIDES, 18)


def arrow(canvas: Canvas) -> Tensor:
    """An arrow that points upwards."""
    return _polygon(canvas, _ARROW, 25)


def disc(canvas: Canvas) -> Tensor:
    """A round disc, at times a little oval."""
    placed, radius = _placed(canvas, 180)
    return _line_or_filled(placed.radius - radius * 0.9, canvas)


def heart(canvas: Canvas) -> Tensor:
    """A heart: a square on its tip with a disc on each of its upper sides."""
    placed, radius = _placed(canvas, 20)
    across, down = placed.across.abs() / radius, placed.down / radius - 0.15
    half = 0.58  # half the side of the square
    right, left = (across - down) / sqrt(2), (across + down) / sqrt(2)
    tip = torch.maximum(right.abs(), left.abs()) - half
    lobe = torch.hypot(right - half, left) - half
    return _line_or_filled(torch.minimum(tip, lobe) * radius, canvas)


def crescent(canvas: Canvas) -> Tensor:
    """A disc with a bite taken from its left or its right, like the moon."""
    placed, radius = _placed(canvas, 30)
    side = sign(canvas.count, canvas.generator)
    bite = uniform(canvas.count, 0.4, 0.6, canvas.generator)
    across, down = placed.across / radius, placed.down / radius
    distance = torch.maximum(torch.hypot(across, down) - 1, 0.85 - torch.hypot(across - side * bite, down))
    return _line_or_filled(distance * radius, canvas)


def blobs(canvas: Canvas) -> Tensor:
    """Two to four soft round patches that may run into one another; only their colour tells what they are."""
    width = canvas.across.shape[-1]
    total = torch.zeros_like(canvas.across)
    for patch in range(4):
        placed = canvas.moved(width / 3).stretched(1.4)
        present = chance(canvas.count, 1.0 if patch < 2 else 0.5, canvas.generator)
        radius = width * uniform(canvas.count, 0.12, 0.3, canvas.generator)
        total = total + present * torch.exp(-((placed.radius / radius) ** 2))
    # A level line of the sum, with a slope of about a fifth of the picture: much softer than any outline's edge.
    return (0.5 - total) * (width / 5)

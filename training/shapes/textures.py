"""Patterns that fill the picture. Each function returns a signed distance in pixels, negative inside.

Periods reach down to four and a half pixels: only a striped first-layer filter can tell the orientation of so fine a
grating, and that is why the network grows such filters.
"""

from math import pi, sqrt

import torch
from torch import Tensor

from training.shapes.canvas import Canvas
from training.shapes.sampling import sign, uniform, whole


def _stripes(phase: Tensor, period: Tensor, duty: Tensor | float = 0.5) -> Tensor:
    """Distance to stripes: `phase` counts periods, `period` is their length in pixels, `duty` the part inside."""
    return ((phase - phase.floor() - 0.5).abs() - duty / 2) * period


def _period(canvas: Canvas, shortest: float, longest: float) -> Tensor:
    """A random period in pixels; fine and coarse are equally likely per octave."""
    return shortest * (longest / shortest) ** uniform(canvas.count, 0, 1, canvas.generator)


def _grating(canvas: Canvas, degrees: float) -> Tensor:
    """Parallel stripes. 0 degrees is horizontal, more turns them clockwise; each picture is off by up to 10 degrees."""
    turned = canvas.turned(degrees - 10, degrees + 10)
    period = _period(canvas, 4.5, 14)
    phase = turned.down / period + uniform(canvas.count, 0, 1, canvas.generator)
    return _stripes(phase, period, uniform(canvas.count, 0.35, 0.65, canvas.generator))


def horizontal(canvas: Canvas) -> Tensor:
    """Stripes that run from left to right."""
    return _grating(canvas, 0)


def vertical(canvas: Canvas) -> Tensor:
    """Stripes that run from top to bottom."""
    return _grating(canvas, 90)


def rising(canvas: Canvas) -> Tensor:
    """Stripes that rise to the right, like a slash."""
    return _grating(canvas, -45)


def falling(canvas: Canvas) -> Tensor:
    """Stripes that fall to the right, like a backslash."""
    return _grating(canvas, 45)


def checkerboard(canvas: Canvas) -> Tensor:
    """Squares of two colours in turn, at any angle."""
    turned = canvas.moved(20).turned(0, 90)
    side = _period(canvas, 6, 18)
    across = _stripes(turned.across / (2 * side), 2 * side)
    down = _stripes(turned.down / (2 * side), 2 * side)
    return torch.minimum(across.abs(), down.abs()) * torch.sign(across * down)


def dots(canvas: Canvas) -> Tensor:
    """Round dots in rows; every second row is set off by half a period."""
    turned = canvas.moved(20).turned(0, 90)
    period = _period(canvas, 10, 26)
    row = (turned.down / period).round()
    shifted = turned.across / period + 0.5 * (row % 2)
    across = shifted - shifted.round()
    down = turned.down / period - row
    return (torch.hypot(across, down) - uniform(canvas.count, 0.2, 0.3, canvas.generator)) * period


def bricks(canvas: Canvas) -> Tensor:
    """The mortar of a brick wall."""
    turned = canvas.moved(20).turned(-12, 12)
    height = _period(canvas, 8, 20)
    length = height * uniform(canvas.count, 1.8, 2.4, canvas.generator)
    row = (turned.down / height).floor()
    to_course = _stripes(turned.down / height + 0.5, height, 0.0)
    to_joint = _stripes(turned.across / length + 0.5 * (row % 2), length, 0.0)
    return torch.minimum(to_course, to_joint) - height * uniform(canvas.count, 0.06, 0.12, canvas.generator)


def honeycomb(canvas: Canvas) -> Tensor:
    """The walls between six-sided cells, at any angle."""
    turned = canvas.moved(20).turned(0, 60)
    width = _period(canvas, 14, 30)

    def to_wall(shift: float) -> Tensor:
        # The cells' centres form two rectangular grids, one shifted by half a cell against the other.
        across = turned.across / width + shift
        down = turned.down / (width * sqrt(3)) + shift
        across = (across - across.round()).abs()
        down = (down - down.round()).abs() * sqrt(3)
        return 0.5 - torch.maximum(across, across / 2 + down * (sqrt(3) / 2))

    distance = torch.maximum(to_wall(0.0), to_wall(0.5)) * width
    return distance - width * uniform(canvas.count, 0.05, 0.1, canvas.generator)


def zigzag(canvas: Canvas) -> Tensor:
    """Stripes folded back and forth at right angles or so."""
    turned = canvas.moved(20).turned(-20, 20)
    period = _period(canvas, 8, 20)
    fold = _period(canvas, 14, 32)
    slope = uniform(canvas.count, 0.8, 1.2, canvas.generator)
    folded = _stripes(turned.across / fold, fold) * slope
    return _stripes((turned.down + folded) / period, period) / torch.sqrt(1 + slope**2)


def rings(canvas: Canvas) -> Tensor:
    """Circles around one centre."""
    centred = canvas.moved(14).stretched(1.1)
    period = _period(canvas, 7, 22)
    phase = centred.radius / period + uniform(canvas.count, 0, 1, canvas.generator)
    return _stripes(phase, period, uniform(canvas.count, 0.4, 0.6, canvas.generator))


def spiral(canvas: Canvas) -> Tensor:
    """Arms that wind outwards, either way round, at 35 to 55 degrees to the radius."""
    centred = canvas.moved(14)
    arms = whole(canvas.count, 2, 6, canvas.generator)
    pitch = uniform(canvas.count, 35, 55, canvas.generator) * (pi / 180)
    radius = centred.radius.clamp(min=0.5)
    winding = arms * pitch.tan() * sign(canvas.count, canvas.generator)
    phase = (arms * centred.angle + winding * radius.log()) / (2 * pi)
    phase = phase + uniform(canvas.count, 0, 1, canvas.generator)
    return _stripes(phase, 2 * pi * radius / torch.hypot(arms, winding))


def rays(canvas: Canvas) -> Tensor:
    """Wedges that leave one centre in all directions."""
    centred = canvas.moved(14)
    wedges = whole(canvas.count, 7, 14, canvas.generator)
    phase = wedges * centred.angle / (2 * pi) + uniform(canvas.count, 0, 1, canvas.generator)
    return _stripes(phase, 2 * pi * centred.radius / wedges)

"""Where things are drawn: pixel coordinates that have been shifted and turned, once per picture.

Everything here is a signed distance in pixels, negative inside, as is usual for shapes that are computed instead of
filled. Coverage follows from it without supersampling: the edge is a ramp of about one pixel, and a wider ramp is blur.
"""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from training.shapes.sampling import uniform


@dataclass(frozen=True)
class Canvas:
    """Coordinates of every pixel of every picture, in pixels, relative to the origin of what is drawn.

    Attributes:
        across: to the right, shape (picture, height, width).
        down: downwards, the same shape.
        generator: the random stream that draws this batch.
    """

    across: Tensor
    down: Tensor
    generator: torch.Generator

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return self.across.shape[0]

    @property
    def radius(self) -> Tensor:
        """Distance to the origin in pixels, shape (picture, height, width)."""
        return torch.hypot(self.across, self.down)

    @property
    def angle(self) -> Tensor:
        """Direction from the origin in radians in [-pi, pi], shape (picture, height, width)."""
        return torch.atan2(self.down, self.across)

    def moved(self, furthest: float) -> "Canvas":
        """The same canvas with its origin at a random place, at most `furthest` pixels away along each axis."""
        across = self.across - uniform(self.count, -furthest, furthest, self.generator)
        down = self.down - uniform(self.count, -furthest, furthest, self.generator)
        return Canvas(across, down, self.generator)

    def turned(self, low_degrees: float, high_degrees: float) -> "Canvas":
        """The same canvas turned clockwise by a random angle between the two."""
        angle = uniform(self.count, low_degrees, high_degrees, self.generator) * (pi / 180)
        across = self.across * angle.cos() + self.down * angle.sin()
        down = self.down * angle.cos() - self.across * angle.sin()
        return Canvas(across, down, self.generator)

    def stretched(self, most: float) -> "Canvas":
        """The same canvas, each axis scaled by a random factor between 1 / most and most.

        Distances drawn on it are off by that factor, which only makes edges a little sharper or softer.
        """
        across = self.across * most ** uniform(self.count, -1, 1, self.generator)
        down = self.down * most ** uniform(self.count, -1, 1, self.generator)
        return Canvas(across, down, self.generator)


def blank_canvas(count: int, size: int, generator: torch.Generator) -> Canvas:
    """A canvas of `count` pictures of size x size pixels with the origin in the middle."""
    line = torch.arange(size) - (size - 1) / 2
    return Canvas(line.expand(count, size, size), line[:, None].expand(count, size, size), generator)


def coverage(distance: Tensor, softness: Tensor | float) -> Tensor:
    """How much of each pixel lies inside, in [0, 1].

    Args:
        distance: signed distance to the edge in pixels, negative inside.
        softness: width of the ramp at the edge in pixels; 1 is a sharp antialiased edge.
    """
    return (0.5 - distance / softness).clamp(0, 1)

"""The transforms of a request, composed.

However many geometric transforms there are, a picture is sampled once: their maps are multiplied, so that nothing is
blurred twice and a pixel that left the picture by one of them can come back by another. Photometric ones come last, on
what the network sees, wherever they stand in the list.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.maximization.transforms.sampling import normalized_sampling, sample
from phosphene_server.maximization.transforms.transform import (
    Border,
    Canvas,
    Geometric,
    Photometric,
    Resized,
    Transform,
)
from phosphene_server.values.image import ImageSize


@dataclass(frozen=True)
class View:
    """How the network is shown pictures of one size."""

    size: ImageSize
    """The size of what it sees."""
    border: Border
    moves: bool
    """Whether pictures must be sampled at all."""

    def show(self, pictures: Tensor, matrices: Tensor) -> Tensor:
        """Return what the network sees of pictures (batch, 3, height, width) through maps (batch, 2, 3)."""
        return sample(pictures, matrices, size=self.size, border=self.border) if self.moves else pictures


@dataclass(frozen=True)
class Chain:
    """Transforms in the order in which they are applied."""

    geometric: tuple[Geometric, ...]
    photometric: tuple[Photometric, ...]
    margin: int
    """The sum of all margins, in pixels on each side."""
    border: Border
    """What the last canvas says of the border."""
    resized: ImageSize | None
    """The last size at which the network is to see the canvas; None: its own."""

    @property
    def draws(self) -> int:
        """How many random numbers the photometric transforms need at each step."""
        return sum(transform.draws for transform in self.photometric)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers of all photometric transforms."""
        return tuple(number for transform in self.photometric for number in transform.numbers)

    def view(self, size: ImageSize) -> View:
        """Return how the network is shown pictures of a size at each step."""
        canvas = ImageSize(size.height + 2 * self.margin, size.width + 2 * self.margin)
        seen = self.resized or canvas
        return View(seen, self.border, moves=bool(self.geometric) or seen != size or canvas != size)

    def plain_view(self, size: ImageSize) -> View:
        """Return how the network is shown pictures as they are: without a margin; the map is the identity."""
        seen = self.resized or size
        return View(seen, self.border, moves=seen != size)

    def matrices(self, generator: np.random.Generator, count: int, size: ImageSize) -> NDArray[np.float64]:
        """Draw the maps of one picture for a number of steps: (count, 2, 3), for `View.show`."""
        composed = np.broadcast_to(np.eye(3), (count, 3, 3))
        for transform in self.geometric:
            composed = composed @ transform.sampling(generator.random((count, transform.draws)), size)
        return normalized_sampling(composed, size, margin=self.margin)

    def disturb(self, pictures: Tensor, numbers: Tensor, draws: Tensor) -> Tensor:
        """Change the values of pixels.

        Args:
            pictures: (batch, 3, height, width).
            numbers: (batch, n), the `numbers` of each picture's own chain.
            draws: (batch, draws), evenly from [0, 1).
        """
        number, draw = 0, 0
        for transform in self.photometric:
            own = numbers[:, number : number + len(transform.numbers)]
            pictures = transform.apply(pictures, own, draws[:, draw : draw + transform.draws])
            number, draw = number + len(transform.numbers), draw + transform.draws
        return pictures


def compose(transforms: Sequence[Transform]) -> Chain:
    """Compose transforms that are applied in this order."""
    canvases = [transform for transform in transforms if isinstance(transform, Canvas)]
    sizes = [transform.size for transform in transforms if isinstance(transform, Resized)]
    return Chain(
        geometric=tuple(transform for transform in transforms if isinstance(transform, Geometric)),
        photometric=tuple(transform for transform in transforms if isinstance(transform, Photometric)),
        margin=sum(canvas.margin for canvas in canvases),
        border=canvases[-1].border if canvases else "reflect",
        resized=sizes[-1] if sizes else None,
    )

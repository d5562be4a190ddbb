"""The transforms of a request, composed.

However many geometric transforms there are, a picture is sampled once: their maps are multiplied, so that nothing is
blurred twice and a pixel that left the picture by one of them can come back by another. Noise comes last, on what the
network sees, wherever it stands in the list.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.maximization.transforms.sampling import normalized_sampling
from phosphene_server.maximization.transforms.transform import Border, Canvas, Geometric, Photometric, Transform
from phosphene_server.values.image import ImageSize


@dataclass(frozen=True)
class Chain:
    """Transforms in the order in which they are applied."""

    geometric: tuple[Geometric, ...]
    photometric: tuple[Photometric, ...]
    margin: int
    """The sum of all margins, in pixels on each side."""
    border: Border
    """What the last canvas says of the border."""

    @property
    def moves(self) -> bool:
        """Whether pictures must be sampled at all."""
        return bool(self.geometric) or self.margin > 0

    def matrices(self, generator: np.random.Generator, count: int, size: ImageSize) -> NDArray[np.float64]:
        """Draw the maps of one picture for a number of steps: (count, 2, 3), for `sampling.sample`."""
        composed = np.broadcast_to(np.eye(3), (count, 3, 3))
        for transform in self.geometric:
            composed = composed @ transform.sampling(generator.random((count, transform.draws)), size)
        return normalized_sampling(composed, size, margin=self.margin)

    def disturb(self, pictures: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Change the values of the pixels of (batch, 3, height, width), each picture by its own generator."""
        for transform in self.photometric:
            pictures = transform.apply(pictures, generators)
        return pictures


def compose(transforms: Sequence[Transform]) -> Chain:
    """Compose transforms that are applied in this order."""
    canvases = [transform for transform in transforms if isinstance(transform, Canvas)]
    return Chain(
        geometric=tuple(transform for transform in transforms if isinstance(transform, Geometric)),
        photometric=tuple(transform for transform in transforms if isinstance(transform, Photometric)),
        margin=sum(canvas.margin for canvas in canvases),
        border=canvases[-1].border if canvases else "reflect",
    )

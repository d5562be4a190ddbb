"""Random noise."""

from collections.abc import Sequence

import torch
from torch import Tensor

from phosphene_server.maximization.transforms.transform import Photometric


def noise(*, standard_deviation: float) -> Photometric:
    """Return normally distributed noise on every pixel and colour; 1 is the distance from black to white."""

    def apply(pictures: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        drawn = [
            torch.randn(picture.shape, generator=generator, dtype=pictures.dtype, device=pictures.device)
            for picture, generator in zip(pictures, generators, strict=True)
        ]
        return pictures + standard_deviation * torch.stack(drawn)

    return Photometric(apply)

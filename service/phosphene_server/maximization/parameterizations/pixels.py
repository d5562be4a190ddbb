"""Pictures as pixels."""

import torch
from torch import Tensor

from phosphene_server.maximization.parameterizations.colors import correlate, correlation_root
from phosphene_server.maximization.parameterizations.parameterization import Parameterization
from phosphene_server.values.image import ImageSize


def pixels(
    *,
    size: ImageSize,
    standard_deviation: float,
    decorrelate_colors: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Parameterization:
    """Return pictures as the sigmoid of one number for each pixel and colour.

    Without the scaling of a spectrum high frequencies rise as fast as low ones, and pictures look like noise; it is
    here to show what the spectrum is good for, and for tests whose answer is known in closed form.

    Args:
        size: The size of the pictures.
        standard_deviation: That of the numbers at the start.
        decorrelate_colors: Whether the numbers are independent colour coordinates instead of RGB.
        dtype: The type of pictures and numbers.
        device: Where they are.
    """
    root = correlation_root(dtype=dtype, device=device)

    def start(generator: torch.Generator) -> Tensor:
        shape = (3, size.height, size.width)
        return (standard_deviation * torch.randn(shape, generator=generator, dtype=dtype)).to(device)

    def decode(parameters: Tensor) -> Tensor:
        return torch.sigmoid(correlate(parameters, root) if decorrelate_colors else parameters)

    return Parameterization(("pixels", size, decorrelate_colors), start, decode)

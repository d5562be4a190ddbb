"""Pictures as spectra."""

import torch
from torch import Tensor

from phosphene_server.maximization.parameterizations.colors import correlate, correlation_root
from phosphene_server.maximization.parameterizations.parameterization import Parameterization
from phosphene_server.values.image import ImageSize

SPECTRUM_DIVISOR = 4.0
"""Brings the first steps of a learning rate of 0.05 to the steep middle of the sigmoid. Source: Lucid, `spatial.py`."""


def fourier(
    *,
    size: ImageSize,
    standard_deviation: float,
    decay: float,
    decorrelate_colors: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Parameterization:
    """Return pictures as the sigmoid of the inverse Fourier transform of a scaled spectrum.

    Each frequency f, in cycles per pixel, is divided by f ** decay, as amplitudes fall in natural pictures. Adam moves
    every number equally fast; so coarse structure comes first and pixel noise does not drown it.

    Args:
        size: The size of the pictures.
        standard_deviation: That of the real and imaginary parts at the start.
        decay: The power of the frequency.
        decorrelate_colors: Whether the spectrum is that of independent colour coordinates instead of RGB.
        dtype: The type of pictures and numbers.
        device: Where they are.

    References:
        Olah et al. 2017, "Preconditioning and parameterization"; Lucid, `optvis/param/spatial.py`.
    """
    scale = spectrum_scale(size, decay=decay).to(device, dtype)[..., None]  # (height, width // 2 + 1, 1)
    root = correlation_root(dtype=dtype, device=device)

    def start(generator: torch.Generator) -> Tensor:
        shape = (3, *scale.shape[:2], 2)  # the last axis: real and imaginary part
        return (standard_deviation * torch.randn(shape, generator=generator, dtype=dtype)).to(device)

    def decode(parameters: Tensor) -> Tensor:
        spectrum = torch.view_as_complex(parameters * scale)
        coordinates = torch.fft.irfft2(spectrum, s=(size.height, size.width)) / SPECTRUM_DIVISOR
        return torch.sigmoid(correlate(coordinates, root) if decorrelate_colors else coordinates)

    return Parameterization(start, decode)


def spectrum_scale(size: ImageSize, *, decay: float) -> Tensor:
    """Return the factor of each frequency, float64 (height, width // 2 + 1).

    The mean (f = 0) is treated as the slowest wave that fits; the root of the number of pixels makes up for the
    division by that number in the inverse transform, so that contrast does not depend on the size.
    """
    rows = torch.fft.fftfreq(size.height, dtype=torch.float64)
    columns = torch.fft.rfftfreq(size.width, dtype=torch.float64)
    frequency = torch.sqrt(rows[:, None] ** 2 + columns[None, :] ** 2)
    slowest = 1.0 / max(size.height, size.width)
    pixels = size.height * size.width
    return torch.as_tensor(pixels**0.5 / frequency.clamp(min=slowest) ** decay)

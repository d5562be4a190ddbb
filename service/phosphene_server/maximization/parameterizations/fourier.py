"""Pictures as spectra."""

import torch
from torch import Tensor

from phosphene_server.maximization.parameterizations.colors import correlate, correlation_root
from phosphene_server.maximization.parameterizations.parameterization import Parameterization
from phosphene_server.values.image import ImageSize

CONTRAST = 5.0
"""The standard deviation of the pixels, before the sigmoid, that numbers of standard deviation 1 stand for.

Chosen by measurement so that a learning rate of 0.05 neither leaves a picture pale after 256 steps nor drives its
colours to the edge of their range, see docs/feature-visualization.md. Lucid has 2 at 128 pixels and decay 1; there it
grows with the size and the decay, and the rate must be found anew.
"""


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
        coordinates = torch.fft.irfft2(spectrum, s=(size.height, size.width))
        return torch.sigmoid(correlate(coordinates, root) if decorrelate_colors else coordinates)

    return Parameterization(("fourier", size, decay, decorrelate_colors), start, decode)


def spectrum_scale(size: ImageSize, *, decay: float) -> Tensor:
    """Return the factor of each frequency, float64 (height, width // 2 + 1).

    The mean (f = 0) is treated as the slowest wave that fits. All are multiplied by what gives the pixels the same
    contrast at every size and decay, so that one learning rate fits all.
    """
    rows = torch.fft.fftfreq(size.height, dtype=torch.float64)
    columns = torch.fft.rfftfreq(size.width, dtype=torch.float64)
    frequency = torch.sqrt(rows[:, None] ** 2 + columns[None, :] ** 2)
    slowest = 1.0 / max(size.height, size.width)
    scale: Tensor = frequency.clamp(min=slowest) ** -decay
    counts = torch.full_like(columns, 2.0)  # half of the plane is left out: it mirrors these columns
    counts[0] = 1.0
    if size.width % 2 == 0:
        counts[-1] = 1.0
    # Parseval: the variance of a pixel is the power over the squared number of pixels; 2 for real and imaginary part.
    variance = 2 * (scale.square() * counts).sum() / (size.height * size.width) ** 2
    return CONTRAST * scale / variance.sqrt()

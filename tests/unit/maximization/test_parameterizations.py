"""Parameterizations: against NumPy's transform, and what they promise of colours and frequencies."""

import numpy as np
import pytest
import torch

from phosphene_server.maximization.parameterizations import (
    PARAMETERIZATIONS,
    Parameterization,
    fourier,
    pixels,
)
from phosphene_server.maximization.parameterizations.colors import CORRELATION_ROOT, correlate, correlation_root
from phosphene_server.maximization.parameterizations.fourier import CONTRAST, spectrum_scale
from phosphene_server.values import maximization as values
from phosphene_server.values.image import ImageSize

CPU = torch.device("cpu")


def made(
    size: ImageSize, *, decorrelate: bool = False, decay: float = 1.0, deviation: float = 0.01
) -> Parameterization:
    return fourier(
        size=size,
        standard_deviation=deviation,
        decay=decay,
        decorrelate_colors=decorrelate,
        dtype=torch.float64,
        device=CPU,
    )


@pytest.mark.parametrize("size", [ImageSize(8, 8), ImageSize(9, 12), ImageSize(12, 9), ImageSize(11, 13)])
def test_decoding_a_spectrum_agrees_with_numpy(size: ImageSize) -> None:
    parameters = torch.randn(2, 3, size.height, size.width // 2 + 1, 2, dtype=torch.float64)
    spectrum = (parameters[..., 0] + 1j * parameters[..., 1]).numpy()
    rows, columns = np.fft.fftfreq(size.height)[:, None], np.fft.rfftfreq(size.width)[None]
    frequency = np.maximum(np.hypot(rows, columns), 1 / max(size.height, size.width))
    whole = np.maximum(np.hypot(rows, np.fft.fftfreq(size.width)[None]), 1 / max(size.height, size.width))
    contrast = np.sqrt(2 * (whole**-2).sum()) / (size.height * size.width)
    pixels = np.fft.irfft2(CONTRAST * spectrum / frequency / contrast, s=(size.height, size.width))
    expected = 1 / (1 + np.exp(-pixels))
    np.testing.assert_allclose(made(size).decode(parameters).numpy(), expected, rtol=1e-9)


def test_amplitudes_fall_with_the_frequency_to_the_power_of_the_decay() -> None:
    scale = spectrum_scale(ImageSize(64, 64), decay=1.5)
    assert scale[0, 8] / scale[0, 16] == pytest.approx(2**1.5)
    assert scale[8, 0] / scale[-8, 0] == pytest.approx(1)
    assert scale[0, 0] == scale[0, 1]


def test_without_decay_all_frequencies_weigh_the_same() -> None:
    assert spectrum_scale(ImageSize(16, 24), decay=0.0).unique().numel() == 1


@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5])
@pytest.mark.parametrize("size", [ImageSize(16, 16), ImageSize(33, 24), ImageSize(64, 64)])
def test_the_contrast_of_the_first_pictures_is_the_same_at_every_size_and_decay(size: ImageSize, decay: float) -> None:
    parameterization = made(size, decay=decay, deviation=0.1)
    generator = torch.Generator().manual_seed(0)
    pictures = parameterization.decode(torch.stack([parameterization.start(generator) for _ in range(100)]))
    assert pictures.logit().square().mean().sqrt().item() == pytest.approx(0.1 * CONTRAST, rel=0.15)


def test_decorrelated_coordinates_become_colours_with_the_measured_correlation() -> None:
    root = correlation_root(dtype=torch.float64, device=CPU)
    coordinates = torch.randn(4, 3, 200, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    colors = correlate(coordinates, root).movedim(1, 0).flatten(1)
    matrix = np.array(CORRELATION_ROOT)
    measured, covariance = torch.cov(colors).numpy(), matrix @ matrix.T
    np.testing.assert_allclose(measured / np.trace(measured), covariance / np.trace(covariance), atol=3e-3)


def test_decorrelated_colours_of_a_spectrum_are_mostly_brightness() -> None:
    parameterization = made(ImageSize(64, 64), decorrelate=True)
    picture = parameterization.decode(parameterization.start(torch.Generator().manual_seed(1))[None])[0]
    correlation = torch.corrcoef(picture.flatten(1))
    assert correlation[0, 1] > 0.8
    assert correlation[1, 2] > 0.8


def test_pixels_stand_for_themselves() -> None:
    parameterization = pixels(
        size=ImageSize(8, 10), standard_deviation=0.5, decorrelate_colors=False, dtype=torch.float64, device=CPU
    )
    start = parameterization.start(torch.Generator().manual_seed(0))
    assert start.shape == (3, 8, 10)
    torch.testing.assert_close(parameterization.decode(start[None]), torch.sigmoid(start[None]))


def test_a_standard_deviation_of_zero_starts_at_middle_gray() -> None:
    parameterization = made(ImageSize(8, 8), decorrelate=True, deviation=0.0)
    picture = parameterization.decode(parameterization.start(torch.Generator().manual_seed(0))[None])
    torch.testing.assert_close(picture, torch.full_like(picture, 0.5))


def test_the_table_has_every_kind_of_parameterization_that_a_request_may_name() -> None:
    union = values.Parameterization.__origin__  # type: ignore[attr-defined]  # of Annotated
    assert set(PARAMETERIZATIONS) == {case.kind for case in union.__args__}

"""Fourier transforms, and complex numbers as pairs of real ones."""

from collections.abc import Callable
from typing import Any

import torch

from phosphene_server.models.importers.aten.operators import Operator, direct


def _transform(function: Callable[..., Any], length: str) -> Operator:
    """Make a row; `length`: the name of the argument that says how long the result or the input is."""
    return direct("fourier_transform", function, "self", keywords=(length, "dim", "norm"))


OPERATORS: dict[str, Operator] = {
    "fft_fft": _transform(torch.fft.fft, "n"),
    "fft_ifft": _transform(torch.fft.ifft, "n"),
    "fft_rfft": _transform(torch.fft.rfft, "n"),
    "fft_irfft": _transform(torch.fft.irfft, "n"),
    "fft_fft2": _transform(torch.fft.fft2, "s"),
    "fft_ifft2": _transform(torch.fft.ifft2, "s"),
    "fft_rfft2": _transform(torch.fft.rfft2, "s"),
    "fft_irfft2": _transform(torch.fft.irfft2, "s"),
    "fft_fftn": _transform(torch.fft.fftn, "s"),
    "fft_ifftn": _transform(torch.fft.ifftn, "s"),
    "fft_rfftn": _transform(torch.fft.rfftn, "s"),
    "fft_irfftn": _transform(torch.fft.irfftn, "s"),
    # The forms that decomposed programs have.
    "_fft_r2c": direct(
        "fourier_transform", torch.ops.aten._fft_r2c.default, "self", "dim", "normalization", "onesided"
    ),
    "_fft_c2r": direct(
        "fourier_transform", torch.ops.aten._fft_c2r.default, "self", "dim", "normalization", "last_dim_size"
    ),
    "_fft_c2c": direct("fourier_transform", torch.ops.aten._fft_c2c.default, "self", "dim", "normalization", "forward"),
    "view_as_complex": direct("complex", torch.view_as_complex, "self"),
    "view_as_real": direct("complex", torch.view_as_real, "self"),
    "real": direct("complex", torch.real, "self"),
    "imag": direct("complex", torch.imag, "self"),
    "complex": direct("complex", torch.complex, "real", "imag"),
    "polar": direct("complex", torch.polar, "abs", "angle"),
}

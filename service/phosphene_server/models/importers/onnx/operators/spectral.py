"""Fourier transforms, windows and the mel scale. Complex numbers are a last axis of length 2: real, imaginary."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor, fx

from phosphene_server.models.importers.onnx.operation import Handler, Operation
from phosphene_server.models.importers.onnx.operators.casting import as_type, folding_reference
from phosphene_server.models.importers.onnx.values import Value

HANN = (0.5, 0.5)
HAMMING = (25 / 46, 21 / 46)
BLACKMAN = (0.42, 0.5, 0.08)
"""Coefficients of cosines, with alternating signs. Harris, "On the Use of Windows for Harmonic Analysis with the
Discrete Fourier Transform", Proceedings of the IEEE 66, 1978."""


def fourier_transform(operation: Operation) -> Value:
    """DFT along one axis; the axis is an attribute before opset 20 and an input since."""
    default = 1 if operation.opset < 20 else -2
    axis = (operation.known_numbers(2, "axis") or [default])[0]
    inverse, onesided = bool(operation.attribute("inverse", 0)), bool(operation.attribute("onesided", 0))
    length = _number(operation, 1)
    return operation.call(transform, operation.data(0), length, axis, inverse=inverse, onesided=onesided)


def transform(tensor: Tensor, length: int | None, axis: int, *, inverse: bool, onesided: bool) -> Tensor:
    """Return the discrete Fourier transform.

    Args:
        tensor: (signal axes..., 1 or 2), real or complex.
        length: Elements along `axis` that are transformed, cut off or filled up with zeros; None for those it has.
        axis: Counted with the last axis.
        inverse: Whether to transform back, with the factor 1 / length.
        onesided: Whether the spectrum of a real signal is halved: the result, or the input of an inverse transform.
    """
    axis %= tensor.ndim
    signal = _complex(tensor)
    if inverse and onesided:
        restored: Tensor = torch.fft.irfft(signal, length, axis)
        return restored.unsqueeze(-1)
    if onesided and not signal.is_complex():
        return torch.view_as_real(torch.fft.rfft(signal, length, axis))
    result = torch.fft.ifft(signal, length, axis) if inverse else torch.fft.fft(signal, length, axis)
    if onesided:
        result = result.narrow(axis, 0, result.shape[axis] // 2 + 1)
    return torch.view_as_real(result)


def short_time_fourier_transform(operation: Operation) -> Value:
    """STFT: the transforms of windows along a signal."""
    window = operation.optional(2)
    step, length = _number(operation, 1), _number(operation, 3)
    onesided = bool(operation.attribute("onesided", 1))
    return operation.call(transform_frames, operation.data(0), step, window, length, onesided=onesided)


def transform_frames(signal: Tensor, step: int, window: Tensor | None, length: int | None, *, onesided: bool) -> Tensor:
    """Return the spectra of frames, (batch, frame, frequency, 2).

    Args:
        signal: (batch, time, 1 or 2).
        step: From the beginning of one frame to that of the next.
        window: What each frame is multiplied by, None for ones.
        length: Of a frame, None for that of the window, or of the signal.
        onesided: Whether frequencies above half of the sampling rate are left out.
    """
    if length is None:
        length = signal.shape[1] if window is None else window.shape[0]
    frames = _complex(signal).unfold(1, length, step)
    frames = frames if window is None else frames * window
    if onesided and not frames.is_complex():
        return torch.view_as_real(torch.fft.rfft(frames))
    spectra = torch.fft.fft(frames)
    return torch.view_as_real(spectra[..., : length // 2 + 1] if onesided else spectra)


def window(coefficients: Sequence[float]) -> Handler:
    """Return the handler of a window that is a sum of cosines."""

    def handler(operation: Operation) -> Value:
        size = _number(operation, 0)
        if not isinstance(size, fx.Node):
            operation.bounded([size])
        periodic = bool(operation.attribute("periodic", 1))
        element_type = operation.attribute("output_datatype", TensorProto.FLOAT)
        reference = folding_reference(operation, size, element_type=element_type)
        return operation.call(cosine_window, size, tuple(coefficients), periodic, element_type, reference)

    return handler


def cosine_window(
    size: int, coefficients: Sequence[float], periodic: bool, element_type: int, reference: Tensor
) -> Tensor:
    """Return a₀ - a₁ cos(2πn / N) + a₂ cos(4πn / N) - ..., where N is `size`, or one less if not periodic."""
    period = size if periodic else max(size - 1, 1)
    phase = 2 * math.pi / period * torch.arange(size, dtype=torch.float64, device=reference.device)
    terms = [(-1) ** order * factor * torch.cos(order * phase) for order, factor in enumerate(coefficients)]
    return as_type(torch.stack(terms).sum(0), element_type, reference)


def mel_weight_matrix(operation: Operation) -> Value:
    """MelWeightMatrix: a constant, since its numbers are settings."""
    bands, length, rate, low, high = (operation.known(index).item() for index in range(5))
    operation.bounded([int(length) // 2 + 1, int(bands)])
    element_type = operation.attribute("output_datatype", TensorProto.FLOAT)
    return as_type(mel_filters(int(bands), int(length), int(rate), low, high), element_type, torch.zeros(()))


def mel_filters(bands: int, length: int, rate: int, low: float, high: float) -> Tensor:
    """Return triangles on the mel scale, mel(f) = 2595 log10(1 + f / 700), (frequency, band), in float64.

    Args:
        bands: How many triangles.
        length: Of the transform whose length // 2 + 1 frequencies are weighted.
        rate: Samples per second.
        low: The lowest frequency, in hertz.
        high: The highest frequency, in hertz.
    """
    edges = [2595 * math.log10(1 + hertz / 700) for hertz in (low, high)]
    mels = np.arange(bands + 2) * (edges[1] - edges[0]) / (bands + 2) + edges[0]
    bins = ((length + 1) * 700 * (10 ** (mels / 2595) - 1) // rate).astype(int)
    weights = torch.zeros(length // 2 + 1, bands, dtype=torch.float64)
    for band, (left, centre, right) in enumerate(zip(bins[:-2], bins[1:-1], bins[2:], strict=True)):
        weights[left : centre + 1, band] = torch.linspace(0, 1, centre - left + 1, dtype=torch.float64)
        weights[centre:right, band] = torch.linspace(1, 0, right - centre + 1, dtype=torch.float64)[:-1]
        if left == centre:
            weights[centre, band] = 1.0
    return weights


def _complex(tensor: Tensor) -> Tensor:
    return tensor[..., 0] if tensor.shape[-1] == 1 else torch.view_as_complex(tensor.contiguous())


def _number(operation: Operation, index: int) -> Any:
    """Return an input of one number, known or computed from shapes; None where it is left out."""
    numbers = operation.numbers(index)
    return operation.known(index).item() if isinstance(numbers, fx.Node) else None if numbers is None else numbers[0]

"""Spectra and windows against SciPy, and their gradients against finite differences."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import fft, signal

from phosphene_server.errors import PhospheneError
from tests.unit.models.importers.onnx_texts import imported, run_original, run_reference

RANDOM = np.random.default_rng(5)


def pairs(numbers: np.ndarray) -> np.ndarray:
    """Complex numbers as pairs on a last axis."""
    return np.stack([numbers.real, numbers.imag], -1)


@pytest.mark.parametrize("length", [None, 5, 9])
@pytest.mark.parametrize("axis", [1, 2, -2])
def test_transforms_of_real_signals_are_those_of_scipy(tmp_path: Path, length: int | None, axis: int) -> None:
    values = RANDOM.standard_normal((2, 7, 6, 1))
    given = "" if length is None else "size"
    text = f"""(float[2, 7, 6, 1] x) => (float[A, B, C, 2] whole, float[A, B, D, 2] half)
    <int64 axis = {{{axis}}}, int64 size = {{{length or 0}}}>
    {{ whole = DFT (x, {given}, axis) half = DFT <onesided = 1> (x, {given}, axis) }}"""
    whole, half = imported(tmp_path, text).to(dtype=torch.float64)(torch.from_numpy(values))
    place = axis if axis > 0 else 2
    np.testing.assert_allclose(whole.numpy(), pairs(fft.fft(values[..., 0], length, place)), atol=1e-12)
    np.testing.assert_allclose(half.numpy(), pairs(fft.rfft(values[..., 0], length, place)), atol=1e-12)


def test_inverse_transforms_restore_the_signal(tmp_path: Path) -> None:
    text = """(float[2, 8, 1] x) => (float[2, 8, 2] y, float[2, 8, 1] z)
    { whole = DFT (x) y = DFT <inverse = 1> (whole) half = DFT <onesided = 1> (x)
      z = DFT <onesided = 1, inverse = 1> (half) }"""
    values = torch.from_numpy(RANDOM.standard_normal((2, 8, 1)))
    whole, half = imported(tmp_path, text).to(dtype=torch.float64)(values)
    torch.testing.assert_close(whole[..., :1], values)
    torch.testing.assert_close(half, values)


SHORT = """(float[2, 40, 1] x) => (float[2, F, B, 2] y)
<int64 step = {5}, int64 length = {12}, int64 size = {12}>
{ window = HannWindow (size) y = STFT <onesided = 1> (x, step, window, length) }"""


def test_short_time_transforms_are_those_of_onnx_runtime(tmp_path: Path) -> None:
    values = RANDOM.standard_normal((2, 40, 1)).astype(np.float32)
    (ours,) = imported(tmp_path, SHORT)(torch.from_numpy(values))
    (theirs,) = run_original(tmp_path / "model.onnx", values)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


@pytest.mark.parametrize(
    "text", [SHORT, "(float[2, 40, 1] x) => (float[2, 21, 1, 2] y) { y = DFT <onesided = 1, axis = 1> (x) }"]
)
def test_the_gradient_passes_transforms(tmp_path: Path, text: str) -> None:
    opset = 17 if "axis = 1" in text else 21
    graph = imported(tmp_path, text, opset=opset).to(dtype=torch.float64)
    source = torch.from_numpy(RANDOM.standard_normal((2, 40, 1))).requires_grad_()
    assert torch.autograd.gradcheck(lambda tensor: graph(tensor)[0], (source,), fast_mode=True)


@pytest.mark.parametrize("periodic", [0, 1])
@pytest.mark.parametrize("size", [2, 9, 16])
def test_windows_are_those_of_scipy(tmp_path: Path, size: int, periodic: int) -> None:
    text = f"""(float[N] x) => (float[S] hann, float[S] hamming, float[S] blackman) <int64 size = {{{size}}}>
    {{ hann = HannWindow <periodic = {periodic}> (size) hamming = HammingWindow <periodic = {periodic}> (size)
       blackman = BlackmanWindow <periodic = {periodic}> (size) }}"""
    windows = imported(tmp_path, text)(torch.zeros(1))
    hamming = ("general_hamming", 25 / 46)
    for ours, name in zip(windows, ("hann", hamming, "blackman"), strict=True):
        expected = signal.get_window(name, size, fftbins=bool(periodic))
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-6)


MEL = """(float[N] x) => (float[B, 8] y)
<int64 bands = {8}, int64 length = {64}, int64 rate = {16000}, float low = {50.0}, float high = {7600.0}>
{ y = MelWeightMatrix (bands, length, rate, low, high) }"""


def test_mel_weights_are_those_of_the_specification(tmp_path: Path) -> None:
    (ours,) = imported(tmp_path, MEL)(torch.zeros(1))
    (theirs,) = run_reference(tmp_path / "model.onnx", np.zeros(1, np.float32))
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-6)


@pytest.mark.parametrize("text", [MEL.replace("{8}", "{9000000000}"), MEL.replace("{16000}", "{0}")])
def test_mel_weights_of_absurd_settings_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(PhospheneError):
        imported(tmp_path, text)

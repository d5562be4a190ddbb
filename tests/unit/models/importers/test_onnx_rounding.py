"""Small floating-point types, against ml_dtypes on numbers of every size."""

import ml_dtypes
import numpy as np
import pytest
import torch
from onnx import TensorProto
from onnx.numpy_helper import to_float8e8m0

from phosphene_server.models.importers.onnx.operators.rounding import (
    SMALL_FLOATS,
    to_integers,
    to_power_of_two,
    to_small_float,
)

TYPES = {
    TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: ml_dtypes.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: ml_dtypes.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: ml_dtypes.float8_e5m2fnuz,
    TensorProto.FLOAT4E2M1: ml_dtypes.float4_e2m1fn,
}


def numbers_of_every_size(dtype: type) -> np.ndarray:
    """All numbers of a type, those halfway between two, those just beside them, and some far out."""
    bits = 4 if dtype == ml_dtypes.float4_e2m1fn else 8
    exact = np.arange(2**bits, dtype=np.uint8).view(dtype).astype(np.float32)
    exact = np.unique(exact[np.isfinite(exact)])
    halves = (exact[1:] + exact[:-1]) / 2
    beside = np.concatenate([np.nextafter(halves, np.float32(np.inf)), np.nextafter(halves, np.float32(-np.inf))])
    return np.concatenate([exact, halves, beside, exact * 1.3]).astype(np.float32)


@pytest.mark.parametrize("element_type", TYPES, ids=lambda number: TensorProto.DataType.Name(number))
def test_numbers_round_as_ml_dtypes_rounds_them(element_type: int) -> None:
    dtype = TYPES[element_type]
    values = np.append(numbers_of_every_size(dtype), [np.inf, -np.inf, np.nan, 1e9, -1e9]).astype(np.float32)
    ours = to_small_float(torch.from_numpy(values), element_type, saturate=False).numpy()
    expected = values.astype(dtype).astype(np.float32)
    if element_type == TensorProto.FLOAT4E2M1:
        expected[np.isnan(values)] = 0.0
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("element_type", TYPES, ids=lambda number: TensorProto.DataType.Name(number))
def test_saturating_keeps_numbers_finite(element_type: int) -> None:
    largest = SMALL_FLOATS[element_type].largest
    assert largest == float(ml_dtypes.finfo(TYPES[element_type]).max)
    values = torch.tensor([largest * 3, -largest * 3, torch.inf, -torch.inf, largest * 1.01])
    ours = to_small_float(values, element_type, saturate=True)
    assert ours.tolist() == [largest, -largest, largest, -largest, largest]


@pytest.mark.parametrize("mode", ["up", "down", "nearest"])
def test_powers_of_two_round_as_onnx_rounds_them(mode: str) -> None:
    values = np.geomspace(2.0**-120, 2.0**120, 977, dtype=np.float32)
    values = np.append(values, [1.5, 3.0, 2.0**-30, 0.75]).astype(np.float32)
    ours = to_power_of_two(torch.from_numpy(values), mode, saturate=True).numpy()
    np.testing.assert_array_equal(ours, to_float8e8m0(values, True, mode).astype(np.float32))


@pytest.mark.parametrize("element_type", [TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT4E2M1])
def test_the_gradient_is_the_identity_up_to_the_largest_number_and_zero_beyond(element_type: int) -> None:
    largest = SMALL_FLOATS[element_type].largest
    values = torch.tensor([0.1, -0.7, largest, -largest, largest * 2, -largest * 2], requires_grad=True)
    (gradient,) = torch.autograd.grad(to_small_float(values, element_type, saturate=True).sum(), values)
    assert gradient.tolist() == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]


def test_the_ends_of_an_integer_range_have_a_gradient() -> None:
    values = torch.tensor([-0.6, -0.4, 0.2, 14.6, 15.4, 15.6], requires_grad=True)
    result = to_integers(values, None, 0, 15)
    (gradient,) = torch.autograd.grad(result.sum(), values)
    assert result.tolist() == [0.0, 0.0, 0.0, 15.0, 15.0, 15.0]
    assert gradient.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]

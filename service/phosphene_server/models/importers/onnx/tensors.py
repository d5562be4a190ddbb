"""ONNX data types and tensors in torch.

The graph computes in one floating-point type, its own: whatever precision the file stores (half, bfloat16, double), a
tensor that enters the graph becomes float32 and follows `ModelGraph.to(dtype=...)` from there. Half precision is slow
on CPUs and its rounding is of no use to gradients. The values of 8-bit and 4-bit floating-point types are held in that
type too, rounded to what their own type can hold where the file casts or quantizes.

Integer types that torch cannot compute with are held in wider ones, and results are wrapped to the declared width:
unsigned types above 8 bits in int64, those of 2 and 4 bits in 8. A uint64 has its bits in an int64, so that numbers
from 2⁶³ on compare and divide as negative ones.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

FLOATING = frozenset(
    {
        TensorProto.FLOAT,
        TensorProto.DOUBLE,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.FLOAT8E4M3FN,
        TensorProto.FLOAT8E4M3FNUZ,
        TensorProto.FLOAT8E5M2,
        TensorProto.FLOAT8E5M2FNUZ,
        TensorProto.FLOAT8E8M0,
        TensorProto.FLOAT4E2M1,
    }
)

TORCH_TYPES: Mapping[int, torch.dtype] = {
    **dict.fromkeys(FLOATING, torch.float32),
    TensorProto.DOUBLE: torch.float64,
    TensorProto.INT2: torch.int8,
    TensorProto.INT4: torch.int8,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT2: torch.uint8,
    TensorProto.UINT4: torch.uint8,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.int64,
    TensorProto.UINT32: torch.int64,
    TensorProto.UINT64: torch.int64,
    TensorProto.BOOL: torch.bool,
}
"""ONNX element type -> the torch type that holds its values."""

ELEMENT_TYPES: Mapping[torch.dtype, int] = {
    torch.float32: TensorProto.FLOAT,
    torch.float64: TensorProto.DOUBLE,
    torch.int8: TensorProto.INT8,
    torch.int16: TensorProto.INT16,
    torch.int32: TensorProto.INT32,
    torch.int64: TensorProto.INT64,
    torch.uint8: TensorProto.UINT8,
    torch.bool: TensorProto.BOOL,
}
"""Torch type of a held tensor -> the ONNX type of the same name."""

STORED_TYPES: Mapping[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.FLOAT8E4M3FN: torch.float8_e4m3fn,
    TensorProto.FLOAT8E4M3FNUZ: torch.float8_e4m3fnuz,
    TensorProto.FLOAT8E5M2: torch.float8_e5m2,
    TensorProto.FLOAT8E5M2FNUZ: torch.float8_e5m2fnuz,
    TensorProto.FLOAT8E8M0: torch.float8_e8m0fnu,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.uint16,
    TensorProto.UINT32: torch.uint32,
    TensorProto.UINT64: torch.uint64,
    TensorProto.BOOL: torch.bool,
}
"""ONNX element type of whole bytes -> the torch type of the same bits."""

INTEGER_BITS: Mapping[int, tuple[int, bool]] = {
    TensorProto.INT2: (2, True),
    TensorProto.INT4: (4, True),
    TensorProto.INT8: (8, True),
    TensorProto.INT16: (16, True),
    TensorProto.INT32: (32, True),
    TensorProto.INT64: (64, True),
    TensorProto.UINT2: (2, False),
    TensorProto.UINT4: (4, False),
    TensorProto.UINT8: (8, False),
    TensorProto.UINT16: (16, False),
    TensorProto.UINT32: (32, False),
    TensorProto.UINT64: (64, False),
}
"""ONNX integer type -> its bits, and whether it has a sign."""

QUANTIZED = frozenset(INTEGER_BITS) - {TensorProto.INT64, TensorProto.UINT32, TensorProto.UINT64}
"""Types of quantized numbers and their sums, which may be held as floating-point numbers."""

HELD_WIDER = frozenset(
    {
        TensorProto.INT2,
        TensorProto.INT4,
        TensorProto.UINT2,
        TensorProto.UINT4,
        TensorProto.UINT16,
        TensorProto.UINT32,
    }
)
"""Integer types whose torch type has more bits than they have."""


def type_name(element_type: int) -> str:
    """Return the numpy name of an ONNX element type, for example `float32`."""
    if element_type == TensorProto.BFLOAT16:
        return "bfloat16"
    return str(np.dtype(helper.tensor_dtype_to_np_dtype(element_type)).name)


def integer_range(element_type: int) -> tuple[int, int]:
    """Return the smallest and the largest number of an ONNX integer type."""
    bits, signed = INTEGER_BITS[element_type]
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def wrapped(tensor: Tensor, element_type: int) -> Tensor:
    """Wrap the numbers of an integer tensor to the bits of its ONNX type, as arithmetic in that type does."""
    if element_type not in HELD_WIDER:
        return tensor
    low, high = integer_range(element_type)
    bits = tensor & (high - low)
    return bits if low == 0 else bits - ((bits > high).to(bits.dtype) << INTEGER_BITS[element_type][0])


def read_tensor(proto: TensorProto) -> Tensor:
    """Return the values of a TensorProto whose data is in memory.

    Raises:
        ValueError: its type is not one that the graph computes with, or the data does not fill the shape.
    """
    if proto.data_type not in TORCH_TYPES:
        known = TensorProto.DataType.values()
        name = TensorProto.DataType.Name(proto.data_type) if proto.data_type in known else str(proto.data_type)
        raise ValueError(f"tensor {proto.name!r} has the data type {name}, which is not supported")
    return from_array(numpy_helper.to_array(proto))


def from_array(array: NDArray[Any]) -> Tensor:
    """Return an array of any ONNX type as the tensor that holds it, a copy.

    Raises:
        ValueError: it is an array of strings or of another type that the graph does not compute with.
    """
    element_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    if element_type not in TORCH_TYPES:
        raise ValueError(f"arrays of {array.dtype} are not supported")
    held = helper.tensor_dtype_to_np_dtype(ELEMENT_TYPES[TORCH_TYPES[element_type]])
    return torch.from_numpy(np.array(array.astype(held), order="C"))

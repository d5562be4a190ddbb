"""ONNX data types and tensors in torch.

The graph computes in one floating-point type, its own: whatever precision the file stores (half, bfloat16, double), a
tensor that enters the graph becomes float32 and follows `ModelGraph.to(dtype=...)` from there. Half precision is slow
on CPUs and its rounding is of no use to gradients. Unsigned types above 8 bits, for which torch has next to no kernels,
become int64.
"""

import numpy as np
import torch
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
    }
)

TORCH_TYPES: dict[int, torch.dtype] = {
    TensorProto.FLOAT: torch.float32,
    TensorProto.DOUBLE: torch.float64,
    TensorProto.FLOAT16: torch.float16,
    TensorProto.BFLOAT16: torch.bfloat16,
    TensorProto.INT8: torch.int8,
    TensorProto.INT16: torch.int16,
    TensorProto.INT32: torch.int32,
    TensorProto.INT64: torch.int64,
    TensorProto.UINT8: torch.uint8,
    TensorProto.UINT16: torch.int64,
    TensorProto.UINT32: torch.int64,
    TensorProto.UINT64: torch.int64,
    TensorProto.BOOL: torch.bool,
}
"""ONNX element type -> the torch type that holds its values."""


def type_name(element_type: int) -> str:
    """Return the numpy name of an ONNX element type, for example `float32`."""
    if element_type == TensorProto.BFLOAT16:
        return "bfloat16"
    return str(np.dtype(helper.tensor_dtype_to_np_dtype(element_type)).name)


def read_tensor(proto: TensorProto) -> Tensor:
    """Return the values of a TensorProto whose data is in memory.

    Raises:
        ValueError: its type is not one that the graph computes with, or the data does not fill the shape.
    """
    if proto.data_type not in TORCH_TYPES:
        known = TensorProto.DataType.keys()
        name = TensorProto.DataType.Name(proto.data_type) if proto.data_type < len(known) else str(proto.data_type)
        raise ValueError(f"tensor {proto.name!r} has the data type {name}, which is not supported")
    array = numpy_helper.to_array(proto)
    if proto.data_type == TensorProto.BFLOAT16:
        array = array.astype(np.float32)
    elif proto.data_type in (TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64):
        array = array.astype(np.int64)
    return torch.from_numpy(np.array(array, order="C"))

"""Operators that make tensors from numbers: Constant, ConstantOfShape, Range, EyeLike."""

import torch
from onnx import TensorProto
from torch import Tensor, fx

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.operators.casting import as_type, folding_reference
from phosphene_server.models.importers.onnx.sparse import read_sparse_tensor
from phosphene_server.models.importers.onnx.tensors import TORCH_TYPES
from phosphene_server.models.importers.onnx.values import Sizes, Value

SCALARS = {
    "value_float": torch.float32,
    "value_floats": torch.float32,
    "value_int": torch.int64,
    "value_ints": torch.int64,
}
"""Attribute of Constant that holds numbers -> their type."""


def constant(operation: Operation) -> Value:
    """Constant: a tensor, or numbers as attributes."""
    tensor = operation.attribute("value")
    if isinstance(tensor, Tensor):
        return tensor
    for name, dtype in SCALARS.items():
        numbers = operation.attribute(name)
        if numbers is not None:
            return torch.tensor(numbers, dtype=dtype)
    sparse = operation.attribute("sparse_value")
    if sparse is not None:
        return read_sparse_tensor(sparse)
    raise operation.unsupported("strings")


def constant_of_shape(operation: Operation) -> Value:
    """ConstantOfShape: one number everywhere."""
    value = operation.attribute("value", torch.zeros(1))
    shape = operation.numbers(0)
    if shape is None:
        raise ValueError("the shape is missing")
    known = isinstance(shape, list) and not any(isinstance(length, fx.Node) for length in shape)
    operation.bounded(shape)
    if known:
        return torch.full(tuple(shape), value.item(), dtype=value.dtype)  # type: ignore[arg-type]  # a list, see `known`
    return operation.call(filled, shape, value.item(), value.dtype, operation.reference())


def filled(shape: list[int], value: float, dtype: torch.dtype, reference: Tensor) -> Tensor:
    """Return a tensor filled with a number on the device of `reference`, floating-point ones in its type."""
    dtype = reference.dtype if dtype.is_floating_point else dtype
    return torch.full(tuple(shape), value, dtype=dtype, device=reference.device)


def number_range(operation: Operation) -> Value:
    """Range: from `start` up to, without, `limit`."""
    start, limit, step = (operation.number(index) for index in range(3))
    dtype = TORCH_TYPES[operation.element_type(0) or TensorProto.FLOAT]
    given = operation.input(0)
    if isinstance(given, Tensor | Sizes):
        dtype = given.dtype
    if not any(isinstance(number, fx.Node) for number in (start, limit, step)):
        operation.bounded([abs(int((limit - start) / step))])
        return torch.arange(start, limit, step, dtype=dtype)
    return operation.call(counted, start, limit, step, dtype, operation.reference())


def counted(start: float, limit: float, step: float, dtype: torch.dtype, reference: Tensor) -> Tensor:
    """Return the numbers from `start` up to `limit` on the device of `reference`."""
    dtype = reference.dtype if dtype.is_floating_point else dtype
    return torch.arange(start, limit, step, dtype=dtype, device=reference.device)


def eye_like(operation: Operation) -> Value:
    """EyeLike: ones on one diagonal, in the shape of a matrix."""
    value = operation.data(0)
    element_type = operation.attribute("dtype", operation.element_type(0)) or TensorProto.FLOAT
    diagonal = operation.call(ones_on_diagonal, value, operation.attribute("k", 0))
    return operation.call(as_type, diagonal, element_type, folding_reference(operation, value))


def ones_on_diagonal(matrix: Tensor, offset: int) -> Tensor:
    """Return where the column minus the row is `offset`, in the shape of a matrix."""
    rows, columns = (torch.arange(length, device=matrix.device) for length in matrix.shape)
    return columns - rows[:, None] == offset

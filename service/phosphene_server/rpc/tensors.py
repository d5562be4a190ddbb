"""Tensor messages and numpy arrays."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from phosphene.v1 import tensor_pb2 as pb
from phosphene_server.errors import InvalidArgument

MOST_AXES = 8
"""More axes than any layer has; numpy itself allows 64."""
LONGEST_AXIS = 2**31 - 1

_TYPES: Mapping[int, str] = {
    number: name.removeprefix("DATA_TYPE_").lower() for name, number in pb.DataType.items() if number
}
_NUMBERS: Mapping[str, pb.DataType.ValueType] = {
    name: pb.DataType.Value(f"DATA_TYPE_{name.upper()}") for name in _TYPES.values()
}


def array_of(tensor: pb.Tensor, path: str) -> NDArray[np.generic]:
    """Return the elements of a tensor message as a read-only array.

    Args:
        tensor: The message.
        path: Where it stands in the request, for errors.

    Raises:
        InvalidArgument: the data type is unset or unknown, an axis is negative, or the length of the data does not
            belong to the shape.
    """
    if tensor.data_type not in _TYPES:
        raise InvalidArgument(f"{path}.data_type", _type_name(tensor.data_type), f"one of {', '.join(_TYPES.values())}")
    name = _TYPES[tensor.data_type]
    shape = tuple(tensor.shape)
    _check_shape(shape, path)
    element = np.dtype(name).newbyteorder("<")
    data = tensor.data
    expected = math.prod(shape) * element.itemsize
    if len(data) != expected:
        raise InvalidArgument(f"{path}.data", f"{len(data)} bytes", f"{expected} bytes ({name} of shape {shape})")
    array = np.frombuffer(data, dtype=element).reshape(shape)
    if name == "bool" and array.size and array.view(np.uint8).max() > 1:
        raise InvalidArgument(f"{path}.data", f"a byte of {array.view(np.uint8).max()}", "bytes of 0 or 1")
    return array


def tensor_of(array: NDArray[np.generic]) -> pb.Tensor:
    """Return an array as a message: row-major, little-endian, without gaps."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return pb.Tensor(data_type=_NUMBERS[array.dtype.name], shape=array.shape, data=little.tobytes())


def _check_shape(shape: tuple[int, ...], path: str) -> None:
    if len(shape) > MOST_AXES:
        raise InvalidArgument(f"{path}.shape", f"{len(shape)} items", f"at most {MOST_AXES} items")
    for axis, length in enumerate(shape):
        if not 0 <= length <= LONGEST_AXIS:
            raise InvalidArgument(f"{path}.shape[{axis}]", str(length), f"a length from 0 to {LONGEST_AXIS}")


def _type_name(number: int) -> str:
    return str(number) if number else "nothing"

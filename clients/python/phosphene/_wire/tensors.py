"""Arrays to tensor messages and back: row-major, little-endian."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from phosphene._wire.building import invalid
from phosphene._wire.enumerations import decode_word, words
from phosphene.v1 import tensor_pb2


def as_arrays(values: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
    """Numbers and nested lists of them as arrays, by name.

    Raises:
        InvalidArgument: one of them is neither.
    """
    arrays = {}
    for index, (name, value) in enumerate(values.items()):
        try:
            arrays[name] = np.asarray(value)
        except ValueError as error:
            expected = "a number, an array, or lists of numbers of one length"
            raise invalid(f"fixed_inputs[{index}].value", expected=expected, value=value) from error
    return arrays


def encode_tensor(array: NDArray[np.generic], *, field: str) -> tensor_pb2.Tensor:
    """The message of an array.

    Raises:
        InvalidArgument: the contract has no such element type.
    """
    known = words(tensor_pb2.DataType.DESCRIPTOR)
    if array.dtype.name not in known:
        raise invalid(field, expected=f"an array of {', '.join(known)}", value=array.dtype.name)
    data_type = tensor_pb2.DataType.Value(f"DATA_TYPE_{array.dtype.name.upper()}")
    data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return tensor_pb2.Tensor(data_type=data_type, shape=array.shape, data=data)


def decode_tensor(message: tensor_pb2.Tensor) -> NDArray[Any]:
    """The array of a message, its own and writable."""
    data_type = np.dtype(decode_word(tensor_pb2.DataType.DESCRIPTOR, message.data_type))
    array = np.frombuffer(message.data, dtype=data_type.newbyteorder("<"))
    return array.astype(data_type).reshape(tuple(message.shape))

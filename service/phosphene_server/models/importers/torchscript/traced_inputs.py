"""What a model was traced with: the shapes and types of its example inputs, which a file keeps as a pickle.

Nothing of the file is called while it is read: the few names that such a pickle has stand for functions of our own.
"""

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from phosphene_server.errors import DamagedModel

TYPES: Mapping[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class TracedTensor:
    """An example input without its numbers."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def read_traced_inputs(content: bytes, *, name: str) -> list[Any] | None:
    """Return the example inputs of `forward`, tensors as TracedTensors; None where the file says nothing usable.

    Args:
        content: The entry `traced_inputs.pkl`, which has been inspected.
        name: The model's name, for messages.

    Raises:
        DamagedModel: it is no such pickle.
    """
    try:
        found = _Unpickler(io.BytesIO(content)).load()
    except Exception as error:  # The content is the file's: a damaged one may end in any kind of error.
        raise DamagedModel(name, f"its example inputs cannot be read: {type(error).__name__}") from error
    inputs = found.get("forward") if isinstance(found, dict) else None
    return list(inputs) if isinstance(inputs, list | tuple) else None


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        known = NAMES.get(f"{module} {name}")
        if known is None and module == "torch" and name in TYPES:
            return TYPES[name]
        if known is None:
            raise pickle.UnpicklingError(name)
        return known

    def persistent_load(self, pid: Any, /) -> Any:
        _, dtype, *_ = pid
        return dtype


def _tensor(dtype: torch.dtype, offset: int, shape: tuple[int, ...], *_: Any) -> TracedTensor:
    if not isinstance(dtype, torch.dtype) or not all(isinstance(length, int) for length in shape):
        raise pickle.UnpicklingError("no tensor")
    return TracedTensor(tuple(shape), dtype)


def _same(value: Any, *_: Any) -> Any:
    return value


NAMES: Mapping[str, Any] = {
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch.jit._pickle restore_type_tag": _same,
    "torch.jit._pickle build_intlist": list,
    "torch.jit._pickle build_doublelist": list,
    "torch.jit._pickle build_boollist": list,
    "torch.jit._pickle build_tensorlist": list,
    "collections OrderedDict": dict,
}
"""What the names in the pickle stand for."""

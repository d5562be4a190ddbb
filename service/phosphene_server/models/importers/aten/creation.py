"""New tensors and changes of type.

A model that was exported in float32 says float32 in many places. The graph says instead "the type of its input", so
that it can be evaluated in float64, and "the device of its input".
"""

from typing import Any

import torch
from torch import Tensor

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator


def as_floating(value: Tensor, reference: Tensor) -> Tensor:
    """Return a tensor as floating point: as it is where it already is, otherwise in the type of `reference`."""
    return value if value.is_floating_point() else value.to(reference.dtype)


def new_full(reference: Tensor, size: list[int], value: float, dtype: torch.dtype | None) -> Tensor:
    """Return a constant tensor on the device of `reference`, in its type where `dtype` is None."""
    return torch.full(size, value, dtype=dtype or reference.dtype, device=reference.device)


def new_range(reference: Tensor, start: float, end: float, step: float, dtype: torch.dtype | None) -> Tensor:
    """Return evenly spaced numbers on the device of `reference`, in its type where `dtype` is None."""
    return torch.arange(start, end, step, dtype=dtype or reference.dtype, device=reference.device)


def cast(emit: Emitter, value: Any, dtype: torch.dtype | None) -> Any:
    """Write a change of type; one between floating-point types is left out."""
    if dtype is None or not emit.is_tensor(value):
        return value
    if not dtype.is_floating_point:
        return emit.call(torch.Tensor.to, value, dtype)
    example = emit.example(value)
    if example is not None and example.is_floating_point():
        return value
    return emit.call(as_floating, value, emit.reference)


def _to(emit: Emitter, a: Arguments) -> Any:
    if "other" in a:
        return _type_as(emit, a)
    return cast(emit, a["self"], a.get("dtype"))


def _type_as(emit: Emitter, a: Arguments) -> Any:
    example = emit.example(a["other"])
    return cast(emit, a["self"], example.dtype if example is not None else torch.float32)


def _storage_type(dtype: torch.dtype | None) -> torch.dtype | None:
    """Return the type to create in: None, that of the input, for every floating-point type and the default."""
    return None if dtype is None or dtype.is_floating_point else dtype


def _full(emit: Emitter, a: Arguments, value: Any) -> Any:
    return emit.call(new_full, emit.reference, a["size"], value, _storage_type(a.get("dtype")))


def _full_with_value(emit: Emitter, a: Arguments) -> Any:
    value, dtype = a["fill_value"], a.get("dtype")
    # Without a type, torch takes that of the number.
    natural = {bool: torch.bool, int: torch.int64}.get(type(value))
    return emit.call(new_full, emit.reference, a["size"], value, _storage_type(dtype) if dtype else natural)


def _full_like(emit: Emitter, a: Arguments, value: Any) -> Any:
    dtype = a.get("dtype")
    if dtype is None or dtype.is_floating_point:
        return emit.call(torch.full_like, a["self"], value)
    return emit.call(torch.full_like, a["self"], value, dtype=dtype)


def _range(emit: Emitter, a: Arguments) -> Any:
    start, step = a.get("start", 0), a.get("step", 1)
    dtype = a.get("dtype")
    whole = all(not isinstance(number, float) for number in (start, a["end"], step))
    kept = torch.int64 if dtype is None and whole else _storage_type(dtype)
    return emit.call(new_range, emit.reference, start, a["end"], step, kept)


def number_as_tensor(reference: Tensor, value: float) -> Tensor:
    """Return a number as a tensor without axes on the device of `reference`; a fraction in its type."""
    dtype = {bool: torch.bool, int: torch.int64}.get(type(value), reference.dtype)
    return torch.full((), value, dtype=dtype, device=reference.device)


def new_tensor(reference: Tensor, values: list[Any], dtype: torch.dtype | None) -> Tensor:
    """Return numbers as a tensor on the device of `reference`, fractions in its type."""
    tensor = torch.tensor(values, dtype=dtype, device="cpu")
    return tensor.to(reference.device, reference.dtype if tensor.is_floating_point() else tensor.dtype)


def _tensor(emit: Emitter, a: Arguments) -> Any:
    """Write a tensor of the numbers in a list; of a tensor, a change of type."""
    values = a["data"] if "data" in a else a["t"]
    if emit.is_tensor(values):
        return cast(emit, values, a.get("dtype"))
    return emit.call(new_tensor, emit.reference, values, a.get("dtype"))


def new_steps(reference: Tensor, start: float, end: float, steps: int, dtype: torch.dtype | None) -> Tensor:
    """Return a number of evenly spaced numbers on the device of `reference`, in its type where `dtype` is None."""
    return torch.linspace(start, end, steps, dtype=dtype or reference.dtype, device=reference.device)


def _steps(emit: Emitter, a: Arguments) -> Any:
    return emit.call(new_steps, emit.reference, a["start"], a["end"], a["steps"], _storage_type(a.get("dtype")))


def _identity_matrix(emit: Emitter, a: Arguments) -> Any:
    size = [a["n"], a.get("m", a["n"])]
    square = _full(emit, {**a, "size": size}, 1)
    return emit.call(torch.triu, emit.call(torch.tril, square))


def _detach(emit: Emitter, a: Arguments) -> Any:
    """Write a cut of the gradient: where the author made one, the original's gradient ends too.

    A straight-through estimator, `x + (f(x) - x).detach()`, would turn into its opposite without it.
    """
    return emit.call(torch.detach, a["self"])


def _copy(emit: Emitter, a: Arguments) -> Any:
    """Write what `self` holds after another tensor or a number was copied into it."""
    source = a["src"] if "src" in a else a["other"]
    if emit.is_tensor(source):
        return emit.call(torch.Tensor.expand_as, source, a["self"])
    return emit.call(torch.full_like, a["self"], source)


OPERATORS: dict[str, Operator] = {
    "to": Operator("cast", _to),
    "_to_copy": Operator("cast", _to),
    "type_as": Operator("cast", _type_as),
    "detach": Operator("detach", _detach),
    "zeros": Operator("constant", lambda emit, a: _full(emit, a, 0)),
    "ones": Operator("constant", lambda emit, a: _full(emit, a, 1)),
    "new_zeros": Operator("constant", lambda emit, a: _full(emit, a, 0)),
    "new_ones": Operator("constant", lambda emit, a: _full(emit, a, 1)),
    # What is in new memory is written before it is read.
    "empty": Operator("constant", lambda emit, a: _full(emit, a, 0)),
    "empty_permuted": Operator("constant", lambda emit, a: _full(emit, a, 0)),
    "new_empty": Operator("constant", lambda emit, a: _full(emit, a, 0)),
    "empty_like": Operator("constant", lambda emit, a: _full_like(emit, a, 0)),
    "linspace": Operator("constant", _steps),
    "eye": Operator("constant", _identity_matrix),
    "full": Operator("constant", _full_with_value),
    "new_full": Operator("constant", lambda emit, a: _full(emit, a, a["fill_value"])),
    "zeros_like": Operator("constant", lambda emit, a: _full_like(emit, a, 0)),
    "ones_like": Operator("constant", lambda emit, a: _full_like(emit, a, 1)),
    "full_like": Operator("constant", lambda emit, a: _full_like(emit, a, a["fill_value"])),
    "tensor": Operator("constant", _tensor),
    "as_tensor": Operator("constant", _tensor),
    "scalar_tensor": Operator("constant", lambda emit, a: _full(emit, {**a, "size": []}, a["s"])),
    "fill": Operator("constant", lambda emit, a: emit.call(torch.full_like, a["self"], a["value"])),
    "zero": Operator("constant", lambda emit, a: emit.call(torch.full_like, a["self"], 0)),
    "copy": Operator("constant", _copy),
    "arange": Operator("constant", _range),
}

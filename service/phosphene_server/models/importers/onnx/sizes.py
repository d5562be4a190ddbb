"""Shape arithmetic: operators on sizes, in Python numbers, element by element.

Each function gives the same as the operator's handler would on tensors, or None where the form at hand is not shape
arithmetic; the translation then turns the sizes into tensors and takes the handler.
"""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.tensors import TORCH_TYPES
from phosphene_server.models.importers.onnx.values import Sizes, Value, size, sizes

SizeHandler = Callable[[Operation], Value | None]
Elements = NDArray[np.object_]

LONGEST = 64
"""Arrays with more numbers than this are tensors, not shapes."""


def size_handler(operation: Operation) -> SizeHandler | None:
    """Return the function for an operation that has sizes and otherwise only known numbers as inputs, else None."""
    present = [value for value in operation.inputs if value is not None]
    small = all(
        isinstance(value, Sizes) or (isinstance(value, Tensor) and value.numel() <= LONGEST) for value in present
    )
    if not small or not any(isinstance(value, Sizes) for value in present):
        return None
    return SIZE_OPERATORS.get(operation.node.op_type)


def shape(operation: Operation) -> Value:
    """Shape of an activation, read at run time; `start` and `end` came with opset 15."""
    value = operation.input(0)
    known = list(value.shape) if isinstance(value, Tensor) else None
    rank = operation.rank(0)
    if isinstance(value, Sizes):
        known = list(value.elements.shape)
    if known is None and rank is None:
        return operation.call(_shape_tensor, value, operation.reference())
    lengths = known if known is not None else [operation.evaluate(size, value, axis) for axis in range(rank or 0)]
    return sizes(lengths[operation.attribute("start", 0) : operation.attribute("end")], torch.int64)


def volume(operation: Operation) -> Value:
    """Size: the number of elements of an activation."""
    value = operation.input(0)
    if isinstance(value, Sizes):
        return torch.tensor(value.elements.size)
    return sizes(operation.evaluate(torch.numel, value), torch.int64)


def _shape_tensor(tensor: Tensor, reference: Tensor) -> Tensor:
    return torch.tensor(tensor.shape, dtype=torch.int64, device=reference.device)


def _elements(operation: Operation, index: int) -> Elements:
    value = operation.input(index)
    if isinstance(value, Sizes):
        return value.elements
    if isinstance(value, Tensor):
        return np.array(value.tolist(), dtype=object).reshape(tuple(value.shape))
    raise ValueError(f"input {index} is missing")


def _dtype(operation: Operation, index: int = 0) -> torch.dtype:
    value = operation.input(index)
    return value.dtype if isinstance(value, Tensor | Sizes) else torch.int64


def _elementwise(function: Callable[..., Any], dtype: torch.dtype | None = None) -> SizeHandler:
    """Return a handler that applies a function to numbers, with broadcasting; `dtype` None: that of the input."""

    def handler(operation: Operation) -> Value | None:
        arrays = [_elements(operation, index) for index in range(len(operation.inputs))]
        apply = np.frompyfunc(lambda *numbers: operation.evaluate(function, *numbers), len(arrays), 1)
        return sizes(apply(*arrays), dtype or _dtype(operation))

    return handler


def _variadic(function: Callable[[Any, Any], Any]) -> SizeHandler:
    """Return a handler that joins any number of inputs, two at a time."""

    def handler(operation: Operation) -> Value | None:
        apply = np.frompyfunc(lambda first, second: operation.evaluate(function, first, second), 2, 1)
        result = _elements(operation, 0)
        for index in range(1, len(operation.inputs)):
            result = apply(result, _elements(operation, index))
        return sizes(result, _dtype(operation))

    return handler


def _quotient(operation: Operation) -> Value | None:
    function = operator.truediv if _dtype(operation).is_floating_point else truncated_quotient
    return _elementwise(function)(operation)


def truncated_quotient(dividend: int, divisor: int) -> int:
    """Return the quotient of two integers, rounded towards zero."""
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def _remainder(operation: Operation) -> Value | None:
    return _elementwise(math.fmod if operation.attribute("fmod", 0) else operator.mod)(operation)


def choose(condition: bool, first: float, second: float) -> float:
    """Return `first` where the condition holds, else `second`."""
    return first if condition else second


def _where(operation: Operation) -> Value | None:
    return _elementwise(choose, _dtype(operation, 1))(operation)


def _cast(operation: Operation) -> Value | None:
    dtype = TORCH_TYPES[operation.attribute("to")]
    source = _dtype(operation)
    if dtype == torch.bool:
        return _elementwise(bool, dtype)(operation)
    if source == torch.bool or source.is_floating_point != dtype.is_floating_point:
        return _elementwise(float if dtype.is_floating_point else int, dtype)(operation)
    return sizes(_elements(operation, 0), dtype)


def _gather(operation: Operation) -> Value | None:
    indices = operation.constant(1)
    if indices is None:
        return None
    taken = np.take(_elements(operation, 0), indices.numpy(), axis=operation.attribute("axis", 0))
    return sizes(taken, _dtype(operation))


def _concat(operation: Operation) -> Value:
    arrays = [_elements(operation, index) for index in range(len(operation.inputs))]
    return sizes(np.concatenate(arrays, axis=operation.attribute("axis", 1)), _dtype(operation))


def _slice(operation: Operation) -> Value | None:
    array = _elements(operation, 0)
    known = [
        operation.known_numbers(index, name) for index, name in ((1, "starts"), (2, "ends"), (3, "axes"), (4, "steps"))
    ]
    starts, ends = known[0] or [], known[1] or []
    axes = known[2] or list(range(len(starts)))
    for start, end, axis, step in zip(starts, ends, axes, known[3] or [1] * len(starts), strict=True):
        if step < 1:
            return None
        array = array[(slice(None),) * (axis % array.ndim) + (slice(start, end, step),)]
    return sizes(array, _dtype(operation))


def _squeeze(operation: Operation) -> Value:
    axes = operation.known_numbers(1, "axes")
    array = _elements(operation, 0)
    return sizes(np.squeeze(array, axis=tuple(axes) if axes else None), _dtype(operation))


def _unsqueeze(operation: Operation) -> Value:
    axes = operation.known_numbers(1, "axes") or []
    return sizes(np.expand_dims(_elements(operation, 0), tuple(axes)), _dtype(operation))


def _reshape(operation: Operation) -> Value | None:
    lengths = operation.constant(1)
    if lengths is None or 0 in lengths:
        return None
    return sizes(_elements(operation, 0).reshape(lengths.tolist()), _dtype(operation))


def _expand(operation: Operation) -> Value | None:
    lengths = operation.constant(1)
    if lengths is None:
        return None
    array = _elements(operation, 0)
    return sizes(np.broadcast_to(array, np.broadcast_shapes(array.shape, tuple(lengths.tolist()))), _dtype(operation))


def _reduced(function: Callable[[Any, Any], Any]) -> SizeHandler:
    """Return a handler that joins all numbers of a one-dimensional array."""

    def handler(operation: Operation) -> Value | None:
        array, axes = _elements(operation, 0), operation.known_numbers(1, "axes")
        if array.ndim != 1 or array.size == 0 or axes not in (None, [], [0], [-1]):
            return None
        total = array[0]
        for element in array[1:]:
            total = operation.evaluate(function, total, element)
        return sizes([total] if operation.attribute("keepdims", 1) else total, _dtype(operation))

    return handler


def _same(operation: Operation) -> Value | None:
    return operation.input(0)


SIZE_OPERATORS: Mapping[str, SizeHandler] = {
    "Abs": _elementwise(operator.abs),
    "Add": _elementwise(operator.add),
    "And": _elementwise(operator.and_),
    "Cast": _cast,
    "Ceil": _elementwise(math.ceil),
    "Concat": _concat,
    "Div": _quotient,
    "Equal": _elementwise(operator.eq, torch.bool),
    "Expand": _expand,
    "Floor": _elementwise(math.floor),
    "Gather": _gather,
    "Greater": _elementwise(operator.gt, torch.bool),
    "GreaterOrEqual": _elementwise(operator.ge, torch.bool),
    "Identity": _same,
    "Less": _elementwise(operator.lt, torch.bool),
    "LessOrEqual": _elementwise(operator.le, torch.bool),
    "Max": _variadic(max),
    "Min": _variadic(min),
    "Mod": _remainder,
    "Mul": _elementwise(operator.mul),
    "Neg": _elementwise(operator.neg),
    "Not": _elementwise(operator.not_, torch.bool),
    "Or": _elementwise(operator.or_),
    "ReduceMax": _reduced(max),
    "ReduceMin": _reduced(min),
    "ReduceProd": _reduced(operator.mul),
    "ReduceSum": _reduced(operator.add),
    "Reshape": _reshape,
    "Slice": _slice,
    "Sqrt": _elementwise(math.sqrt),
    "Squeeze": _squeeze,
    "Sub": _elementwise(operator.sub),
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
"""ONNX operator -> the same on sizes. Shape and Size, which make sizes, are in the table of all operators."""

"""Operators on the bits of integers. Gradients do not pass."""

from collections.abc import Callable

import torch
from torch import Tensor, fx

from phosphene_server.models.importers.onnx.arguments import KnownAtRunTime
from phosphene_server.models.importers.onnx.operation import Handler, Operation
from phosphene_server.models.importers.onnx.operators.casting import as_integers
from phosphene_server.models.importers.onnx.tensors import INTEGER_BITS, wrapped
from phosphene_server.models.importers.onnx.values import Value


def bitwise(function: Callable[..., Tensor]) -> Handler:
    """Return the handler of a function of the bits of two integers."""

    def handler(operation: Operation) -> Value:
        return operation.call(function, _integers(operation, 0), _integers(operation, 1))

    return handler


def bitwise_not(operation: Operation) -> Value:
    """BitwiseNot, within the width of the type."""
    return operation.call(inverted, _integers(operation, 0), _integer_type(operation))


def inverted(tensor: Tensor, element_type: int) -> Tensor:
    """Return every bit of an ONNX integer type turned over."""
    return wrapped(torch.bitwise_not(tensor), element_type)


def bit_shift(operation: Operation) -> Value:
    """BitShift; what leaves the type is lost."""
    function = shifted_left if operation.attribute("direction") == "LEFT" else shifted_right
    return operation.call(function, _integers(operation, 0), _integers(operation, 1), _integer_type(operation))


def shifted_left(tensor: Tensor, places: Tensor, element_type: int) -> Tensor:
    """Return the bits moved towards the higher ones."""
    bits, _ = INTEGER_BITS[element_type]
    moved = torch.bitwise_left_shift(tensor, places.clamp(max=bits - 1))
    return torch.where(places < bits, wrapped(moved, element_type), 0)


def shifted_right(tensor: Tensor, places: Tensor, element_type: int) -> Tensor:
    """Return the bits moved towards the lower ones; zeros come in behind them, or copies of the sign."""
    bits, signed = INTEGER_BITS[element_type]
    moved = torch.bitwise_right_shift(tensor, places.clamp(max=bits - 1))
    if signed:
        return moved
    if bits == 64:
        # torch repeats the highest bit, which is no sign here.
        below_sign = torch.full_like(places, torch.iinfo(torch.int64).max)
        kept = torch.bitwise_right_shift(below_sign, (places - 1).clamp(0, bits - 1))
        moved = torch.where(places > 0, moved & kept, moved)
    return torch.where(places < bits, moved, 0)


def _integers(operation: Operation, index: int) -> Tensor | fx.Node:
    return operation.call(as_integers, operation.data(index), _integer_type(operation))


def _integer_type(operation: Operation) -> int:
    element_type = operation.element_type(0)
    if element_type not in INTEGER_BITS:
        raise KnownAtRunTime("an element type that the file does not say")
    return element_type

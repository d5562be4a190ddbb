"""Operators that act on each element: arithmetic, comparison, logic. Broadcasting is numpy's in both worlds."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.tensors import TORCH_TYPES
from phosphene_server.models.importers.onnx.values import Sizes, Value

Handler = Callable[[Operation], Value | tuple[Value, ...]]


def unary(function: Callable[..., Tensor]) -> Handler:
    """Return the handler of a function of one tensor."""

    def handler(operation: Operation) -> Value:
        return operation.call(function, operation.data(0))

    return handler


def binary(function: Callable[..., Tensor]) -> Handler:
    """Return the handler of a function of two tensors; single numbers are given as such, so that they take no type."""

    def handler(operation: Operation) -> Value:
        return _apply(operation, function)

    return handler


def variadic(function: Callable[..., Tensor]) -> Handler:
    """Return the handler of a function of two tensors that joins any number of them."""

    def handler(operation: Operation) -> Value:
        result = operation.data(0)
        for index in range(1, len(operation.inputs)):
            result = operation.call(function, result, operation.data(index))
        return result

    return handler


def mean(operation: Operation) -> Value:
    """Mean of any number of tensors."""
    total = variadic(torch.add)(operation)
    return operation.call(torch.div, total, float(len(operation.inputs)))


def divide(operation: Operation) -> Value:
    """Div: of integers, rounded towards zero."""
    if operation.is_floating(0):
        return _apply(operation, torch.div)
    return operation.call(torch.div, operation.data(0), operation.operand(1), rounding_mode="trunc")


def modulo(operation: Operation) -> Value:
    """Mod: with the sign of the divisor, or of the dividend if `fmod`."""
    return _apply(operation, torch.fmod if operation.attribute("fmod", 0) else torch.remainder)


def power(operation: Operation) -> Value:
    """Pow: the result has the type of the base."""
    base, exponent = operation.data(0), operation.operand(1)
    if operation.is_floating(0) or not operation.is_floating(1):
        return operation.call(torch.pow, base, exponent)
    return operation.call(integer_power, base, exponent)


def integer_power(base: Tensor, exponent: Tensor | float) -> Tensor:
    """Return an integer tensor raised to a floating-point exponent, as integers."""
    result: Tensor = torch.pow(base, exponent)
    return result.to(base.dtype)


def where(operation: Operation) -> Value:
    """Where."""
    result = operation.call(torch.where, operation.data(0), operation.operand(1), operation.operand(2))
    if isinstance(result, Tensor):
        # Two Python numbers would give torch's default type instead of the file's.
        source = operation.input(1)
        return result.to(source.dtype) if isinstance(source, Tensor | Sizes) else result
    return result


def cast(operation: Operation) -> Value:
    """Cast: between floating-point types it is the identity, since the graph has one of them."""
    target = operation.attribute("to")
    if target not in TORCH_TYPES:
        raise operation.unsupported(f"the element type {target}")
    return _cast(operation, TORCH_TYPES[target])


def cast_like(operation: Operation) -> Value:
    """CastLike: the type of the second input."""
    pattern = operation.data(1)
    if isinstance(pattern, Tensor):
        return _cast(operation, pattern.dtype)
    if operation.is_floating(1):
        return _cast(operation, torch.float32)
    return operation.call(torch.Tensor.type_as, operation.data(0), pattern)


def _cast(operation: Operation, dtype: torch.dtype) -> Value:
    value = operation.data(0)
    if isinstance(value, Tensor):
        return value.to(dtype)
    if dtype.is_floating_point:
        return operation.call(as_floating, value, operation.reference())
    return operation.call(as_type, value, dtype)


def as_floating(tensor: Tensor, reference: Tensor) -> Tensor:
    """Return a tensor in the floating-point type of the graph; one that is floating-point stays as it is."""
    return tensor if tensor.is_floating_point() else tensor.to(reference.dtype)


def as_type(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a tensor in another type; to integers it is rounded towards zero."""
    return tensor.to(dtype)


def _apply(operation: Operation, function: Callable[..., Any]) -> Value:
    """Apply a function to two inputs, single numbers as Python numbers, unless both are."""
    first, second = operation.operand(0), operation.operand(1)
    if not isinstance(first, Tensor | fx.Node) or isinstance(operation.input(0), Sizes):
        first = operation.data(0)
        # A number comes first only where the operation does not commute; it becomes a tensor without axes.
    return operation.call(function, first, second)

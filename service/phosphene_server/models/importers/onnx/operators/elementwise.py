"""Operators that act on each element: arithmetic, comparison, logic. Broadcasting is numpy's in both worlds."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from phosphene_server.models.importers.onnx.operation import Handler, Operation
from phosphene_server.models.importers.onnx.tensors import HELD_WIDER, wrapped
from phosphene_server.models.importers.onnx.values import Sizes, Value


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


def arithmetic(function: Callable[..., Tensor]) -> Handler:
    """Return the handler of a function of two numbers, whose integers wrap around at the width of their type."""

    def handler(operation: Operation) -> Value:
        result = _apply(operation, function)
        element_type = operation.element_type(0)
        return operation.call(wrapped, result, element_type) if element_type in HELD_WIDER else result

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


def is_infinite(operation: Operation) -> Value:
    """IsInf: of both signs, or of one."""
    positive, negative = operation.attribute("detect_positive", 1), operation.attribute("detect_negative", 1)
    infinities = [sign * math.inf for sign, wanted in ((1, positive), (-1, negative)) if wanted]
    return operation.call(is_among, operation.data(0), infinities)


def is_among(tensor: Tensor, numbers: list[float]) -> Tensor:
    """Return where a tensor equals one of some numbers."""
    result = torch.zeros_like(tensor, dtype=torch.bool)
    for number in numbers:
        result = result | (tensor == number)
    return result


def _apply(operation: Operation, function: Callable[..., Any]) -> Value:
    """Apply a function to two inputs, single numbers as Python numbers, unless both are."""
    first, second = operation.operand(0), operation.operand(1)
    if not isinstance(first, Tensor | fx.Node) or isinstance(operation.input(0), Sizes):
        first = operation.data(0)
        # A number comes first only where the operation does not commute; it becomes a tensor without axes.
    return operation.call(function, first, second)

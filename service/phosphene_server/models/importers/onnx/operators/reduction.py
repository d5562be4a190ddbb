"""Operators that reduce axes."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.values import Value

Reduction = Callable[..., Tensor]
"""Takes a tensor, the axes to reduce, and whether they stay with length 1."""


def reduce(operation: Operation) -> Value:
    """A Reduce operator; its axes are an attribute at first, an input since opset 13 or 18."""
    value, rank, operator = operation.data(0), operation.rank(0), operation.node.op_type
    axes = operation.known_numbers(1, "axes")
    keep = bool(operation.attribute("keepdims", 1))
    if not axes and operation.attribute("noop_with_empty_axes", 0):
        return operation.call(PARTS[operator], value) if operator in PARTS else value
    if not operation.is_floating(0):
        return operation.call(reduce_integers, value, operator, tuple(axes or ()), keep)
    if axes or rank:
        return operation.call(REDUCTIONS[operator], value, tuple(axes or range(rank or 0)), keep)
    return operation.call(reduce_all, value, operator, keep)


def reduce_all(tensor: Tensor, operator: str, keep: bool) -> Tensor:
    """Reduce all axes of a tensor whose rank is known at run time alone."""
    return REDUCTIONS[operator](tensor, tuple(range(tensor.ndim)), keep)


def reduce_integers(tensor: Tensor, operator: str, axes: Sequence[int], keep: bool) -> Tensor:
    """Reduce an integer or boolean tensor in its own type; no axes: all of them. Fractions are cut off."""
    axes = tuple(axes) or tuple(range(tensor.ndim))
    if operator in EXACT:
        return REDUCTIONS[operator](tensor, axes, keep).to(tensor.dtype)
    return REDUCTIONS[operator](tensor.double(), axes, keep).to(tensor.dtype)


def greatest(tensor: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
    """Return the maximum; that of nothing is the lowest number of the type."""
    if tensor.numel():
        return tensor.amax(tuple(axes), keep)
    return _of_nothing(tensor, axes, keep, -torch.inf if tensor.is_floating_point() else _bounds(tensor)[0])


def least(tensor: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
    """Return the minimum; that of nothing is the highest number of the type."""
    if tensor.numel():
        return tensor.amin(tuple(axes), keep)
    return _of_nothing(tensor, axes, keep, torch.inf if tensor.is_floating_point() else _bounds(tensor)[1])


def _bounds(tensor: Tensor) -> tuple[int, int]:
    if tensor.dtype == torch.bool:
        return 0, 1
    information = torch.iinfo(tensor.dtype)
    return information.min, information.max


def _of_nothing(tensor: Tensor, axes: Sequence[int], keep: bool, value: float) -> Tensor:
    shape = tensor.sum(tuple(axes), keep).shape
    return torch.full(shape, value, dtype=tensor.dtype, device=tensor.device)


def product(tensor: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
    """Return the product over some axes."""
    for axis in sorted((axis % tensor.ndim for axis in axes), reverse=True):
        tensor = tensor.prod(dim=axis, keepdim=keep)
    return tensor


def absolute_sum(tensor: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
    """Return the sum of magnitudes."""
    return tensor.abs().sum(dim=tuple(axes), keepdim=keep)


def euclidean_norm(tensor: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
    """Return the root of the sum of squares; its gradient at zero is zero."""
    norm: Tensor = torch.linalg.vector_norm(tensor, 2, dim=tuple(axes), keepdim=keep)
    return norm


def log_sum(tensor: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
    """Return the logarithm of the sum."""
    return tensor.sum(dim=tuple(axes), keepdim=keep).log()


def square_sum(tensor: Tensor, axes: Sequence[int], keep: bool) -> Tensor:
    """Return the sum of squares."""
    return (tensor * tensor).sum(dim=tuple(axes), keepdim=keep)


def arg_max(operation: Operation) -> Value:
    """ArgMax."""
    return _extreme(operation, greatest_index)


def arg_min(operation: Operation) -> Value:
    """ArgMin."""
    return _extreme(operation, least_index)


def _extreme(operation: Operation, function: Callable[..., Tensor]) -> Value:
    axis, keep = operation.attribute("axis", 0), bool(operation.attribute("keepdims", 1))
    return operation.call(
        function, operation.data(0), axis, keep, last=bool(operation.attribute("select_last_index", 0))
    )


def greatest_index(tensor: Tensor, axis: int, keep: bool, *, last: bool) -> Tensor:
    """Return the index of the maximum, the first of several equal ones or the last."""
    if last:
        return tensor.shape[axis] - 1 - tensor.flip(axis).argmax(dim=axis, keepdim=keep)
    return tensor.argmax(dim=axis, keepdim=keep)


def least_index(tensor: Tensor, axis: int, keep: bool, *, last: bool) -> Tensor:
    """Return the index of the minimum, the first of several equal ones or the last."""
    if last:
        return tensor.shape[axis] - 1 - tensor.flip(axis).argmin(dim=axis, keepdim=keep)
    return tensor.argmin(dim=axis, keepdim=keep)


def cumulative_sum(operation: Operation) -> Value:
    """CumSum."""
    return _cumulative(operation, torch.cumsum, running_sum)


def cumulative_product(operation: Operation) -> Value:
    """CumProd."""
    return _cumulative(operation, torch.cumprod, running_product)


def _cumulative(operation: Operation, plain: Callable[..., Tensor], function: Callable[..., Tensor]) -> Value:
    (axis,) = operation.known_numbers(1) or [0]
    exclusive, reverse = bool(operation.attribute("exclusive", 0)), bool(operation.attribute("reverse", 0))
    if operation.is_floating(0) and not exclusive and not reverse:
        return operation.call(plain, operation.data(0), axis)
    return operation.call(function, operation.data(0), axis, exclusive=exclusive, reverse=reverse)


def running_sum(tensor: Tensor, axis: int, *, exclusive: bool, reverse: bool) -> Tensor:
    """Return sums of all elements up to each, without itself if `exclusive`, from the end if `reverse`."""
    total = _ordered(tensor, axis, exclusive, reverse, neutral=0.0).cumsum(axis, dtype=tensor.dtype)
    return total.flip(axis) if reverse else total


def running_product(tensor: Tensor, axis: int, *, exclusive: bool, reverse: bool) -> Tensor:
    """Return products of all elements up to each, without itself if `exclusive`, from the end if `reverse`."""
    total = _ordered(tensor, axis, exclusive, reverse, neutral=1.0).cumprod(axis, dtype=tensor.dtype)
    return total.flip(axis) if reverse else total


def _ordered(tensor: Tensor, axis: int, exclusive: bool, reverse: bool, *, neutral: float) -> Tensor:
    """Return the elements in the order in which they are joined; if `exclusive`, each is one place later."""
    ordered = tensor.flip(axis) if reverse else tensor
    if not exclusive:
        return ordered
    start = torch.full_like(ordered.narrow(axis, 0, 1), neutral)
    return torch.cat([start, ordered.narrow(axis, 0, tensor.shape[axis] - 1)], axis)


REDUCTIONS: Mapping[str, Reduction] = {
    "ReduceMean": torch.mean,
    "ReduceSum": torch.sum,
    "ReduceMax": greatest,
    "ReduceMin": least,
    "ReduceProd": product,
    "ReduceL1": absolute_sum,
    "ReduceL2": euclidean_norm,
    "ReduceLogSum": log_sum,
    "ReduceLogSumExp": torch.logsumexp,
    "ReduceSumSquare": square_sum,
}
"""ONNX operator -> what it does to some axes."""

PARTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "ReduceL1": torch.abs,
    "ReduceL2": torch.abs,
    "ReduceLogSum": torch.log,
    "ReduceSumSquare": torch.square,
}
"""What remains of an operator where there is no axis to reduce; of the others nothing does."""

EXACT = frozenset({"ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceSumSquare"})
"""Operators that stay within the integers."""

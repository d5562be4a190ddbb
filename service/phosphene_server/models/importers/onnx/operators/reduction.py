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
    value, rank = operation.data(0), operation.rank(0)
    axes = operation.known_numbers(1, "axes")
    keep = bool(operation.attribute("keepdims", 1))
    if not axes and operation.attribute("noop_with_empty_axes", 0):
        return value
    if axes or rank:
        return operation.call(REDUCTIONS[operation.node.op_type], value, tuple(axes or range(rank or 0)), keep)
    return operation.call(reduce_all, value, operation.node.op_type, keep)


def reduce_all(tensor: Tensor, operator: str, keep: bool) -> Tensor:
    """Reduce all axes of a tensor whose rank is known at run time alone."""
    return REDUCTIONS[operator](tensor, tuple(range(tensor.ndim)), keep)


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
    if not tensor.is_floating_point():
        return (tensor * tensor).sum(dim=tuple(axes), keepdim=keep).double().sqrt().to(tensor.dtype)
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
    axis = operation.numbers(1)
    if not isinstance(axis, list):
        raise operation.unsupported("an axis that is computed at run time")
    exclusive, reverse = bool(operation.attribute("exclusive", 0)), bool(operation.attribute("reverse", 0))
    return operation.call(running_sum, operation.data(0), axis[0], exclusive, reverse)


def running_sum(tensor: Tensor, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    """Return sums of all elements up to each, without itself if `exclusive`, from the end if `reverse`."""
    ordered = tensor.flip(axis) if reverse else tensor
    total = ordered.cumsum(axis, dtype=tensor.dtype)
    total = torch.sub(total, ordered) if exclusive else total
    return total.flip(axis) if reverse else total


REDUCTIONS: Mapping[str, Reduction] = {
    "ReduceMean": torch.mean,
    "ReduceSum": torch.sum,
    "ReduceMax": torch.amax,
    "ReduceMin": torch.amin,
    "ReduceProd": product,
    "ReduceL1": absolute_sum,
    "ReduceL2": euclidean_norm,
    "ReduceLogSum": log_sum,
    "ReduceLogSumExp": torch.logsumexp,
    "ReduceSumSquare": square_sum,
}
"""ONNX operator -> what it does to some axes."""

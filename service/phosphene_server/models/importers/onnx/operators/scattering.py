"""Operators that write some elements of a tensor: Scatter, ScatterElements, ScatterND and TensorScatter.

All of them return a copy; what the writes do to what was there is the attribute `reduction`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.values import Value

REDUCTIONS: Mapping[str, str] = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
"""What ONNX calls the joining of old and new elements -> what torch calls it."""


def scatter_elements(operation: Operation) -> Value:
    """ScatterElements, and Scatter as it was called before opset 11."""
    axis = operation.attribute("axis", 0)
    arguments = (operation.data(0), operation.data(1), operation.data(2), axis)
    return operation.call(put_along, *arguments, reduction=_reduction(operation))


def put_along(tensor: Tensor, indices: Tensor, updates: Tensor, axis: int, *, reduction: str | None) -> Tensor:
    """Write single elements along an axis; negative indices count from the end.

    Args:
        tensor: Any shape.
        indices: Where along the axis each of `updates` goes.
        updates: As `indices`.
        axis: The axis.
        reduction: How torch calls the joining with what is there; None: it is replaced.
    """
    places = torch.where(indices < 0, indices + tensor.shape[axis], indices).long()
    if reduction is None:
        return tensor.scatter(axis, places, updates)
    return tensor.scatter_reduce(axis, places, updates, reduction)


def scatter_nd(operation: Operation) -> Value:
    """ScatterND: at tuples of indices."""
    reduction = _reduction(operation)
    arguments = (operation.data(0), operation.data(1), operation.data(2))
    if reduction in (None, "sum"):
        return operation.call(put_tuples, *arguments, accumulate=reduction == "sum")
    return operation.call(join_tuples, *arguments, reduction=reduction)


def put_tuples(tensor: Tensor, indices: Tensor, updates: Tensor, *, accumulate: bool) -> Tensor:
    """Return a copy of a tensor with the places that tuples of indices point at replaced or increased."""
    return tensor.index_put(tuple(indices.long().unbind(-1)), updates, accumulate=accumulate)


def join_tuples(tensor: Tensor, indices: Tensor, updates: Tensor, *, reduction: str) -> Tensor:
    """Return a copy of a tensor with the places that tuples of indices point at joined with updates."""
    depth = indices.shape[-1]
    rows = tensor.flatten(0, depth - 1).flatten(1) if tensor.ndim > depth else tensor.flatten()[:, None]
    places = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=tensor.device)
    for axis, index in enumerate(indices.long().unbind(-1)):
        length = tensor.shape[axis]
        places = places * length + torch.where(index < 0, index + length, index)
    new = updates.reshape(-1, rows.shape[1])
    joined = rows.scatter_reduce(0, places.reshape(-1, 1).expand_as(new), new, reduction)
    return joined.reshape(tensor.shape)


def tensor_scatter(operation: Operation) -> Value:
    """TensorScatter: writes new steps into a cache, from a place of each sequence on."""
    axis, circular = operation.attribute("axis", -2), operation.attribute("mode", "linear") == "circular"
    start = operation.optional(2)
    return operation.call(write_steps, operation.data(0), operation.data(1), start, axis, circular=circular)


def write_steps(cache: Tensor, update: Tensor, start: Tensor | None, axis: int, *, circular: bool) -> Tensor:
    """Return the cache with the steps of `update` along an axis, from `start` (batch,) on, by default from 0.

    If `circular`, what reaches over the end goes to the beginning.
    """
    steps = torch.arange(update.shape[axis], device=cache.device)
    shape = [1] * cache.ndim
    shape[axis] = -1
    places = steps.reshape(shape)
    if start is not None:
        places = places + start.long().reshape(-1, *[1] * (cache.ndim - 1))
    if circular:
        places = places % cache.shape[axis]
    return cache.scatter(axis, places.expand(update.shape), update)


def _reduction(operation: Operation) -> str | None:
    name = operation.attribute("reduction", "none")
    if name == "none":
        return None
    if name not in REDUCTIONS:
        raise operation.unsupported(f"the reduction {name!r}")
    return REDUCTIONS[name]

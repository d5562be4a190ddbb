"""Operators that pick elements: Slice, Split, Gather, Trilu, TopK and their kin."""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from phosphene_server.models.importers.onnx.operation import Numbers, Operation
from phosphene_server.models.importers.onnx.values import Value


def slices(operation: Operation) -> Value:
    """Slice: attributes before opset 10, inputs after."""
    value = operation.data(0)
    if operation.opset < 10:
        starts: Numbers | None = operation.attribute("starts")
        ends: Numbers | None = operation.attribute("ends")
        axes, steps = operation.attribute("axes"), None
    else:
        starts, ends = operation.numbers(1), operation.numbers(2)
        axes, steps = operation.known_numbers(3, "axes"), operation.known_numbers(4, "steps")
    if not isinstance(starts, list) or not isinstance(ends, list):
        if axes is None and operation.rank(0) is None:
            raise operation.unsupported("a number of axes that is known at run time alone")
        axes = axes or list(range(operation.rank(0) or 0))
        starts, ends = _listed(operation, starts, len(axes)), _listed(operation, ends, len(axes))
    axes = axes or list(range(len(starts)))
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(axes), strict=True):
        value = _slice_axis(operation, value, start, end, axis, step)
    return value


def _listed(operation: Operation, numbers: Numbers | None, count: int) -> list[Any]:
    if isinstance(numbers, fx.Node):
        return list(operation.parts(numbers, count))
    return numbers or []


def _slice_axis(operation: Operation, value: Tensor | fx.Node, start: Any, end: Any, axis: int, step: int) -> Any:
    if step < 0:
        return operation.call(stride_backwards, value, start, end, axis, step)
    part = slice(start, end, step) if step != 1 else slice(start, end)
    # Python's slices clamp as ONNX wants, and a negative axis counts from the end without the rank being known.
    place = (slice(None),) * axis + (part,) if axis >= 0 else (Ellipsis, part) + (slice(None),) * (-axis - 1)
    return operation.call(operator.getitem, value, place)


def stride_backwards(tensor: Tensor, start: int, end: int, axis: int, step: int) -> Tensor:
    """Return the elements from `start` down to, without, `end`; torch has no slices with negative steps."""
    length = tensor.shape[axis]
    start = min(max(start + length if start < 0 else start, -1), length - 1)
    end = max(end + length if end < 0 else end, -1)
    return tensor.index_select(axis, torch.arange(start, min(end, start), step, device=tensor.device))


def split(operation: Operation) -> tuple[Value, ...]:
    """Split: lengths are an attribute before opset 13, an input after; without them the parts are equal."""
    axis = operation.attribute("axis", 0)
    count = len(operation.node.output)
    lengths = operation.attribute("split") if operation.opset < 13 else operation.numbers(1)
    if lengths is None:
        parts = operation.evaluate(equal_parts, operation.data(0), count, axis)
    else:
        parts = operation.evaluate(torch.split, operation.data(0), lengths, axis)
    return operation.parts(parts, count)


def equal_parts(tensor: Tensor, count: int, axis: int) -> tuple[Tensor, ...]:
    """Split into `count` parts of equal length, the last of which may be shorter."""
    length = -(-tensor.shape[axis] // count)
    return torch.split(tensor, length, axis)


def gather(operation: Operation) -> Value:
    """Gather: whole slices along an axis."""
    axis = operation.attribute("axis", 0)
    indices = operation.constant(1)
    if indices is not None and indices.ndim == 0:
        return operation.call(torch.select, operation.data(0), axis, int(indices))
    if indices is not None and indices.ndim == 1 and bool((indices >= 0).all()):
        return operation.call(torch.index_select, operation.data(0), axis, indices)
    return operation.call(gather_slices, operation.data(0), operation.data(1), axis)


def gather_slices(tensor: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Return slices along an axis; negative indices count from the end."""
    axis, length = axis % tensor.ndim, tensor.shape[axis]
    flat = torch.where(indices < 0, indices + length, indices).flatten().long()
    return tensor.index_select(axis, flat).reshape(*tensor.shape[:axis], *indices.shape, *tensor.shape[axis + 1 :])


def gather_elements(operation: Operation) -> Value:
    """GatherElements."""
    axis = operation.attribute("axis", 0)
    return operation.call(gather_along, operation.data(0), operation.data(1), axis)


def gather_along(tensor: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Return single elements along an axis; negative indices count from the end."""
    places = torch.where(indices < 0, indices + tensor.shape[axis], indices).long()
    # torch.gather takes fewer indices than elements along the other axes, as ONNX does.
    return tensor.gather(axis, places)


def gather_nd(operation: Operation) -> Value:
    """GatherND."""
    batch_axes = operation.attribute("batch_dims", 0)
    return operation.call(gather_tuples, operation.data(0), operation.data(1), batch_axes)


def gather_tuples(tensor: Tensor, indices: Tensor, batch_axes: int) -> Tensor:
    """Return what tuples of indices, along the last axis of `indices`, point at; leading axes may be shared."""
    shared = tensor.shape[:batch_axes]
    rows = tensor.reshape(-1, *tensor.shape[batch_axes:])
    tuples = indices.reshape(rows.shape[0], -1, indices.shape[-1]).long()
    batch = torch.arange(rows.shape[0], device=tensor.device)[:, None]
    picked = rows[(batch, *tuples.unbind(-1))]
    return picked.reshape(*shared, *indices.shape[batch_axes:-1], *picked.shape[2:])


def triangle(operation: Operation) -> Value:
    """Trilu: the upper or lower triangle."""
    diagonal = operation.known_numbers(1) or [0]
    function = torch.triu if operation.attribute("upper", 1) else torch.tril
    return operation.call(function, operation.data(0), diagonal[0])


def top_k(operation: Operation) -> tuple[Value, ...]:
    """TopK: the count is an attribute before opset 10, an input after."""
    count = operation.known_numbers(1, "k") or [1]
    axis, largest = operation.attribute("axis", -1), bool(operation.attribute("largest", 1))
    pair = operation.evaluate(leading, operation.data(0), int(count[0]), axis, largest=largest)
    return operation.parts(pair, 2)


def leading(tensor: Tensor, count: int, axis: int, *, largest: bool) -> tuple[Tensor, Tensor]:
    """Return the `count` largest or smallest elements along an axis, in order, and where they are.

    Of equal elements the one with the lower index comes first, which `torch.topk` does not promise.
    """
    values, places = torch.sort(tensor, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, count), places.narrow(axis, 0, count)


def one_hot(operation: Operation) -> Value:
    """OneHot."""
    depth, axis = operation.numbers(1), operation.attribute("axis", -1)
    return operation.call(put_one, operation.data(0), depth, operation.data(2), axis)


def put_one(indices: Tensor, depths: Sequence[float], values: Tensor, axis: int) -> Tensor:
    """Return `values[1]` where an index points along a new axis, else `values[0]`.

    Args:
        indices: Any shape. Negative ones count from the end; those outside of [-depth, depth) point nowhere.
        depths: The one length of the new axis.
        values: (2,).
        axis: Where the new axis goes.
    """
    depth = int(depths[0])
    places = torch.arange(depth, device=indices.device)
    wanted = indices.long()
    hot = torch.where(wanted < 0, wanted + depth, wanted).unsqueeze(-1) == places
    return torch.where(hot, values[1], values[0]).movedim(-1, axis)


def non_zero(operation: Operation) -> Value:
    """NonZero: (axis, number of elements that are not zero)."""
    return operation.call(nonzero_places, operation.data(0))


def nonzero_places(tensor: Tensor) -> Tensor:
    """Return the places of elements that are not zero, (axis, place)."""
    return tensor.nonzero().t()


def compress(operation: Operation) -> Value:
    """Compress: the slices along an axis, or the elements, for which a condition holds."""
    return operation.call(chosen_slices, operation.data(0), operation.data(1), operation.attribute("axis"))


def chosen_slices(tensor: Tensor, condition: Tensor, axis: int | None) -> Tensor:
    """Return the slices for which a condition holds; without an axis the elements of the flattened tensor."""
    places = condition.nonzero().flatten()
    return tensor.flatten()[places] if axis is None else tensor.index_select(axis, places)


def reverse_sequence(operation: Operation) -> Value:
    """ReverseSequence: the first elements of each sequence of a batch, backwards."""
    batch_first = operation.attribute("batch_axis", 1) == 0
    return operation.call(reverse_beginnings, operation.data(0), operation.data(1), batch_first=batch_first)


def reverse_beginnings(tensor: Tensor, lengths: Tensor, *, batch_first: bool) -> Tensor:
    """Reverse the first steps of each sequence.

    Args:
        tensor: (time, batch, ...).
        lengths: (batch,): how many steps.
        batch_first: Whether the tensor is (batch, time, ...) instead.
    """
    sequences = tensor if batch_first else tensor.transpose(0, 1)
    steps = torch.arange(sequences.shape[1], device=tensor.device)
    counts = lengths.long()[:, None]
    places = torch.where(steps < counts, counts - 1 - steps, steps)  # (batch, time)
    batch = torch.arange(sequences.shape[0], device=tensor.device)[:, None]
    reversed_sequences = sequences[batch, places]
    return reversed_sequences if batch_first else reversed_sequences.transpose(0, 1)


def unique(operation: Operation) -> tuple[Value, ...]:
    """Unique: different elements or slices, their first places, the inverse, and how many there are of each."""
    in_order = bool(operation.attribute("sorted", 1))
    results = operation.evaluate(different, operation.data(0), operation.attribute("axis"), in_order=in_order)
    return operation.parts(results, 4)


def different(tensor: Tensor, axis: int | None, *, in_order: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the different slices along an axis (None: elements), ascending if `in_order`, else as they come.

    Returns:
        The slices, the place of the first of each, for every slice its place among the results, and the counts.
    """
    source, along = (tensor.flatten(), 0) if axis is None else (tensor, axis)
    _, inverse, counts = torch.unique(source.detach(), sorted=True, return_inverse=True, return_counts=True, dim=along)
    places = torch.arange(len(inverse), device=tensor.device)
    first = torch.full_like(counts, len(inverse)).scatter_reduce(0, inverse, places, "amin")
    if not in_order:
        order = first.argsort()
        first, counts, inverse = first[order], counts[order], order.argsort()[inverse]
    return source.index_select(along, first), first, inverse, counts

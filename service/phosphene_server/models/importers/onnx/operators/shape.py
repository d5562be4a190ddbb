"""Operators that rearrange axes: Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Expand, Tile, depth and space."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from phosphene_server.models.importers.onnx.operation import Numbers, Operation
from phosphene_server.models.importers.onnx.values import Value, size


def identity(operation: Operation) -> Value | tuple[Value, ...]:
    """Identity."""
    value = operation.input(0)
    if value is None:
        raise ValueError("input 0 is missing")
    return value


def reshape(operation: Operation) -> Value:
    """Reshape: 0 keeps the length of the input (unless `allowzero`), -1 is what remains."""
    value, shape = operation.data(0), operation.numbers(1)
    if shape is None:
        raise ValueError("the shape is missing")
    keep = not operation.attribute("allowzero", 0)
    if isinstance(shape, fx.Node):
        return operation.call(reshape_keeping if keep else torch.reshape, value, shape)
    shape = _with_free_batch(operation, shape)
    if keep:
        # An fx node is a length that is computed; only a number can be 0 here.
        shape = [operation.evaluate(size, value, axis) if length == 0 else length for axis, length in enumerate(shape)]
    return operation.call(torch.reshape, value, shape)


def _with_free_batch(operation: Operation, shape: list[object]) -> list[object]:
    """Replace a batch size that the exporter wrote into a shape by the batch size at run time.

    A file whose batch is fixed at 1 flattens to the constant shape [1, 1000]. Where the first axis of the input has
    that very length, the length of the input means the same at the file's batch, and is right at any other: if the
    first axis is the batch it grows with it, and if it is not it stays.
    """
    declared, value = operation.declared_shape(0), operation.input(0)
    if not shape or not declared or operation.batch is None or not isinstance(value, fx.Node):
        return shape
    if operation.batch != shape[0] or operation.batch != declared[0]:
        return shape
    return [operation.evaluate(size, value, 0), *shape[1:]]


def reshape_keeping(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Reshape, where 0 keeps the length of the input."""
    return tensor.reshape([tensor.shape[axis] if length == 0 else length for axis, length in enumerate(shape)])


def flatten(operation: Operation) -> Value:
    """Flatten to a matrix: the axes before `axis` by the others."""
    axis = operation.attribute("axis", 1)
    if axis == 1:
        return operation.call(torch.flatten, operation.data(0), 1)
    return operation.call(flatten_at, operation.data(0), axis)


def flatten_at(tensor: Tensor, axis: int) -> Tensor:
    """Return a matrix whose rows are the axes before `axis`."""
    axis = axis + tensor.ndim if axis < 0 else axis
    return tensor.reshape(math.prod(tensor.shape[:axis]), math.prod(tensor.shape[axis:]))


def squeeze(operation: Operation) -> Value:
    """Squeeze: axes are an attribute before opset 13, an input after; without them all of length 1."""
    axes = operation.known_numbers(1, "axes")
    if axes is None:
        return operation.call(torch.squeeze, operation.data(0))
    return operation.call(torch.squeeze, operation.data(0), tuple(axes))


def unsqueeze(operation: Operation) -> Value:
    """Unsqueeze: axes count in the result."""
    axes = operation.known_numbers(1, "axes") or []
    value = operation.data(0)
    if len(axes) > 1 and min(axes) < 0:
        return operation.call(unsqueeze_axes, value, tuple(axes))
    for axis in sorted(axes):
        value = operation.call(torch.unsqueeze, value, axis)
    return value


def unsqueeze_axes(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """Insert axes of length 1 at positions of the result."""
    rank = tensor.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        tensor = tensor.unsqueeze(axis)
    return tensor


def transpose(operation: Operation) -> Value:
    """Transpose: without `perm` the axes are reversed."""
    order, rank = operation.attribute("perm"), operation.rank(0)
    if order is None and rank is None:
        return operation.call(reverse_axes, operation.data(0))
    return operation.call(torch.permute, operation.data(0), tuple(order or range(rank or 0)[::-1]))


def reverse_axes(tensor: Tensor) -> Tensor:
    """Return a tensor with its axes in reverse order."""
    return tensor.permute(*range(tensor.ndim)[::-1])


def expand(operation: Operation) -> Value:
    """Expand: broadcasting both ways."""
    shape = _required(operation)
    return operation.call(broadcast, operation.data(0), operation.bounded(shape))


def broadcast(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Repeat a tensor along its axes of length 1 to the shape that it shares with `shape`."""
    missing = len(shape) - tensor.ndim
    own = (1,) * missing + tuple(tensor.shape)
    wanted = (1,) * -missing + tuple(shape)
    return tensor.expand([length if other == 1 else other for length, other in zip(own, wanted, strict=True)])


def tile(operation: Operation) -> Value:
    """Tile."""
    repeats = _required(operation)
    value = operation.constant(0)
    if value is not None and isinstance(repeats, list):
        operation.bounded([value.numel(), *repeats])
    return operation.call(torch.tile, operation.data(0), repeats)


def concatenate(operation: Operation) -> Value:
    """Concat."""
    tensors = [operation.data(index) for index in range(len(operation.inputs))]
    return operation.call(torch.cat, tensors, operation.attribute("axis", 1))


def depth_to_space(operation: Operation) -> Value:
    """DepthToSpace: `CRD` is torch's pixel shuffle; `DCR`, the default, numbers the blocks before the channels."""
    block = operation.attribute("blocksize")
    if operation.attribute("mode", "DCR") == "CRD":
        return operation.call(torch.pixel_shuffle, operation.data(0), block)
    return operation.call(blocks_to_space, operation.data(0), block)


def blocks_to_space(tensor: Tensor, block: int) -> Tensor:
    """Return (batch, block² channel, height, width) as (batch, channel, block height, block width)."""
    batch, depth, height, width = tensor.shape
    parts = tensor.reshape(batch, block, block, depth // block**2, height, width)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(batch, depth // block**2, height * block, width * block)


def space_to_depth(operation: Operation) -> Value:
    """SpaceToDepth: numbers the blocks before the channels, or as torch does in mode `CRD` of recent operator sets."""
    if operation.attribute("mode", "DCR") == "CRD":
        return operation.call(torch.pixel_unshuffle, operation.data(0), operation.attribute("blocksize"))
    return operation.call(space_to_blocks, operation.data(0), operation.attribute("blocksize"))


def space_to_blocks(tensor: Tensor, block: int) -> Tensor:
    """Return (batch, channel, block height, block width) as (batch, block² channel, height, width)."""
    batch, channel, height, width = tensor.shape
    parts = tensor.reshape(batch, channel, height // block, block, width // block, block)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(batch, channel * block**2, height // block, width // block)


def _required(operation: Operation) -> Numbers:
    numbers = operation.numbers(1)
    if numbers is None:
        raise ValueError("input 1 is missing")
    return numbers

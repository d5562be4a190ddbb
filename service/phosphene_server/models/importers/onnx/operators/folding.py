"""Operators that put what windows gave back to its places: Col2Im and MaxUnpool."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.operators.convolution import Window
from phosphene_server.models.importers.onnx.operators.padding import padding_list
from phosphene_server.models.importers.onnx.values import Value


def columns_to_image(operation: Operation) -> Value:
    """Col2Im."""
    shape, kernel = operation.numbers(1), operation.known_numbers(2) or []
    window = Window(operation, kernel)
    geometry = (window.kernel, window.stride, window.dilation, window.before, window.after)
    return operation.call(fold_windows, operation.data(0), shape, *geometry)


def fold_windows(
    columns: Tensor,
    shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
) -> Tensor:
    """Add windows up at the places that they were taken from.

    Args:
        columns: (batch, channel * kernel elements, window).
        shape: Lengths of the spatial axes of the result.
        kernel: One number per spatial axis, as all that follow.
        stride: Step between windows.
        dilation: Distance between the elements of a window.
        before: Padding before each axis, which is cut off.
        after: Padding after each axis.

    Returns:
        (batch, channel, spatial...).
    """
    padded = [int(length) + first + last for length, first, last in zip(shape, before, after, strict=True)]
    crop = padding_list([-count for count in before], [-count for count in after])
    if len(kernel) == 2:
        return F.pad(F.fold(columns, tuple(padded), tuple(kernel), tuple(dilation), 0, tuple(stride)), crop)
    places = torch.zeros((), dtype=torch.int64, device=columns.device)
    for axis, length in enumerate(padded):
        windows = (length - (kernel[axis] - 1) * dilation[axis] - 1) // stride[axis] + 1
        inner = torch.arange(kernel[axis], device=columns.device) * dilation[axis]
        outer = torch.arange(windows, device=columns.device) * stride[axis]
        # (elements so far, windows so far) and this axis's own, the last axis fastest.
        own = inner[:, None] + outer
        places = (places.reshape(*places.shape[:1], 1, *places.shape[1:], 1) * length + own[:, None]).flatten(0, 1)
        places = places.flatten(1)
    batch, depth = columns.shape[0], columns.shape[1] // math.prod(kernel)
    flat = columns.new_zeros(batch, depth, math.prod(padded))
    image = flat.index_add(2, places.flatten(), columns.reshape(batch, depth, -1))
    return F.pad(image.reshape(batch, depth, *padded), crop)


def max_unpool(operation: Operation) -> Value:
    """MaxUnpool: `output_shape` gives a larger result, whose beginning is filled."""
    window = Window(operation, operation.attribute("kernel_shape"))
    geometry = (window.kernel, window.stride, window.before, window.after)
    return operation.call(put_maxima, operation.data(0), operation.data(1), operation.numbers(2), *geometry)


def put_maxima(
    tensor: Tensor,
    places: Tensor,
    shape: Sequence[int] | None,
    kernel: Sequence[int],
    stride: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
) -> Tensor:
    """Put maxima back to their places in what was pooled, among zeros.

    Args:
        tensor: (batch, channel, spatial...): the maxima.
        places: As `tensor`: flat indices into the tensor that was pooled.
        shape: The shape of the result; None: that of what was pooled.
        kernel: One number per spatial axis, as all that follow.
        stride: Step between windows.
        before: Padding before each axis.
        after: Padding after each axis.
    """
    pooled = list(tensor.shape)
    for axis, width in enumerate(kernel):
        pooled[axis + 2] = (tensor.shape[axis + 2] - 1) * stride[axis] - before[axis] - after[axis] + width
    flat = tensor.new_zeros(math.prod(pooled)).scatter(0, places.flatten().long(), tensor.flatten())
    result = flat.reshape(pooled)
    if shape is None:
        return result
    extra = [int(wanted) - length for wanted, length in zip(shape, pooled, strict=True)]
    return F.pad(result, padding_list([0] * len(extra), extra))

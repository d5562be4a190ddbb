"""Operators that put what windows gave back to its places: Col2Im and MaxUnpool."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.operators.windows import Window, padding_list, window_of
from phosphene_server.models.importers.onnx.values import Value


def columns_to_image(operation: Operation) -> Value:
    """Col2Im."""
    window = window_of(operation, operation.known_numbers(2) or [])
    return operation.call(fold_windows, operation.data(0), operation.numbers(1), window)


def fold_windows(columns: Tensor, shape: Sequence[int], window: Window) -> Tensor:
    """Add windows up at the places that they were taken from.

    Args:
        columns: (batch, channel * kernel elements, window).
        shape: Lengths of the spatial axes of the result.
        window: How the windows were taken; its padding is cut off.

    Returns:
        (batch, channel, spatial...).
    """
    axes = zip(shape, window.before, window.after, strict=True)
    padded = tuple(int(length) + first + last for length, first, last in axes)
    if len(padded) == 2:
        image = F.fold(columns, padded, window.kernel, window.dilation, 0, window.stride)
        return F.pad(image, window.negative_padding)
    places = _window_places(padded, window, columns.device)
    batch, depth = columns.shape[0], columns.shape[1] // math.prod(window.kernel)
    flat = columns.new_zeros(batch, depth, math.prod(padded))
    image = flat.index_add(2, places.flatten(), columns.reshape(batch, depth, -1))
    return F.pad(image.reshape(batch, depth, *padded), window.negative_padding)


def _window_places(lengths: Sequence[int], window: Window, device: torch.device) -> Tensor:
    """Return where in the flattened spatial axes each element of each window lies, (element, window)."""
    places = torch.zeros(1, 1, dtype=torch.int64, device=device)
    for length, width, step, spread in zip(lengths, window.kernel, window.stride, window.dilation, strict=True):
        windows = (length - (width - 1) * spread - 1) // step + 1
        inner = torch.arange(width, device=device) * spread
        own = inner[:, None] + torch.arange(windows, device=device) * step
        # (elements so far, own elements, windows so far, own windows), the last axis fastest
        places = (places[:, None, :, None] * length + own[:, None]).flatten(0, 1).flatten(1)
    return places


def max_unpool(operation: Operation) -> Value:
    """MaxUnpool: `output_shape` gives a larger result, whose beginning is filled."""
    window = window_of(operation, operation.attribute("kernel_shape"))
    return operation.call(put_maxima, operation.data(0), operation.data(1), operation.numbers(2), window)


def put_maxima(tensor: Tensor, places: Tensor, shape: Sequence[int] | None, window: Window) -> Tensor:
    """Put maxima back to their places in what was pooled, among zeros.

    Args:
        tensor: (batch, channel, spatial...): the maxima.
        places: As `tensor`: flat indices into the tensor that was pooled.
        shape: The shape of the result; None: that of what was pooled.
        window: How it was pooled.
    """
    axes = zip(tensor.shape[2:], window.kernel, window.stride, window.before, window.after, strict=True)
    lengths = [(count - 1) * step - first - last + width for count, width, step, first, last in axes]
    pooled = (*tensor.shape[:2], *lengths)
    flat = tensor.new_zeros(math.prod(pooled)).scatter(0, places.flatten().long(), tensor.flatten())
    result = flat.reshape(pooled)
    if shape is None:
        return result
    extra = [int(wanted) - length for wanted, length in zip(shape, pooled, strict=True)]
    return F.pad(result, padding_list([0] * len(extra), extra))

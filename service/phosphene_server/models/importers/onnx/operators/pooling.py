"""Max, average, Lp and global pooling.

torch pools directly where it can: padding that is the same on both sides and at most half of the kernel. For the rest
(asymmetric or large padding, SAME) the input is padded first, exactly so far that windows without any rounding remain.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.operators.convolution import CONVOLUTIONS
from phosphene_server.models.importers.onnx.operators.windows import Window, padding_list, window_of
from phosphene_server.models.importers.onnx.values import Value

MAX_POOLS: Mapping[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE_POOLS: Mapping[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
"""Spatial axes -> operation."""


def max_pool(operation: Operation) -> Value | tuple[Value, ...]:
    """MaxPool; its optional second output are the flat indices of the maxima."""
    value = operation.data(0)
    window = _window(operation, MAX_POOLS)
    rounding = bool(operation.attribute("ceil_mode", 0))
    function = MAX_POOLS[len(window.kernel)]
    source, before = value, window.before
    if not _direct(window):
        source = operation.call(pad_windows, value, window, ceil_mode=rounding, fill=-torch.inf)
        before, rounding = (0,) * len(before), False
    geometry = (window.kernel, window.stride, before, window.dilation)
    if not operation.wants(1):
        return operation.call(function, source, *geometry, ceil_mode=rounding)
    pooled = operation.evaluate(function, source, *geometry, ceil_mode=rounding, return_indices=True)
    columns_first = bool(operation.attribute("storage_order", 0))
    padding = None if _direct(window) else window
    places = operation.call(flat_indices, pooled, value, source, padding, columns_first=columns_first)
    return operation.call(operator.getitem, pooled, 0), places


def average_pool(operation: Operation) -> Value:
    """AveragePool."""
    value = operation.data(0)
    window = _window(operation, AVERAGE_POOLS)
    rounding = bool(operation.attribute("ceil_mode", 0))
    inclusive = bool(operation.attribute("count_include_pad", 0))
    if _direct(window) and not any(spread > 1 for spread in window.dilation):
        function = AVERAGE_POOLS[len(window.kernel)]
        return operation.call(function, value, window.kernel, window.stride, window.before, rounding, inclusive)
    return operation.call(average_windows, value, window, ceil_mode=rounding, count_include_pad=inclusive)


def lp_pool(operation: Operation) -> Value:
    """LpPool: the p-norm of each window."""
    value = operation.data(0)
    window = _window(operation, AVERAGE_POOLS)
    rounding = bool(operation.attribute("ceil_mode", 0))
    return operation.call(norm_windows, value, window, operation.attribute("p", 2), ceil_mode=rounding)


def global_average_pool(operation: Operation) -> Value:
    """GlobalAveragePool: as torch writes it, so that graph rewriting recognises it."""
    value, rank = operation.data(0), operation.rank(0)
    if rank == 4:
        return operation.call(F.adaptive_avg_pool2d, value, 1)
    return operation.call(global_mean, value)


def global_max_pool(operation: Operation) -> Value:
    """GlobalMaxPool."""
    return operation.call(global_max, operation.data(0))


def global_lp_pool(operation: Operation) -> Value:
    """GlobalLpPool."""
    return operation.call(global_norm, operation.data(0), operation.attribute("p", 2))


def global_mean(tensor: Tensor) -> Tensor:
    """Return the mean over the spatial axes of (batch, channel, spatial...), which stay with length 1."""
    return tensor.mean(dim=tuple(range(2, tensor.ndim)), keepdim=True)


def global_max(tensor: Tensor) -> Tensor:
    """Return the maximum over the spatial axes; of several equal maxima the first alone has a gradient, as in pools."""
    flat = tensor.flatten(2).max(dim=2).values
    return flat.reshape(*flat.shape, *[1] * (tensor.ndim - 2))


def global_norm(tensor: Tensor, order: float) -> Tensor:
    """Return the p-norm over the spatial axes."""
    norm: Tensor = torch.linalg.vector_norm(tensor, order, dim=tuple(range(2, tensor.ndim)), keepdim=True)
    return norm


def flat_indices(
    pooled: Sequence[Tensor], source: Tensor, padded: Tensor, padding: Window | None, *, columns_first: bool
) -> Tensor:
    """Return indices into the whole input, which ONNX wants, for those into each padded plane, which torch gives.

    Args:
        pooled: The maxima and their indices, both (batch, channel, spatial...).
        source: The input of the operator.
        padded: The input of the pooling, larger by the padding.
        padding: The window that it was padded for; None where it is the same tensor.
        columns_first: Whether elements of a plane are counted along its first axis first.
    """
    places, lengths = pooled[1], source.shape[2:]
    before = padding.padding(lengths)[0] if padding is not None else (0,) * len(lengths)
    coordinates = torch.unravel_index(places, padded.shape[2:])
    order = range(len(lengths))[::-1] if columns_first else range(len(lengths))
    flat = torch.zeros_like(places)
    for axis in order:
        flat = flat * lengths[axis] + coordinates[axis] - before[axis]
    planes = torch.arange(places.shape[0] * places.shape[1], device=places.device) * source[0, 0].numel()
    return flat + planes.reshape(*places.shape[:2], *[1] * len(lengths))


def pad_windows(tensor: Tensor, window: Window, *, ceil_mode: bool, fill: float) -> Tensor:
    """Pad or crop (batch, channel, spatial...) so that windows without padding and rounding are those asked for.

    A window that would start behind the input and the padding before it is left out, as in torch and in the ONNX
    specification since opset 19.
    """
    lengths = tensor.shape[2:]
    before, after = window.padding(lengths)
    needed = []
    for axis, length in enumerate(lengths):
        stride = window.stride[axis]
        reach = (window.kernel[axis] - 1) * window.dilation[axis] + 1
        room = length + before[axis] + after[axis] - reach
        steps = -(-room // stride) if ceil_mode else room // stride
        if ceil_mode and steps * stride >= length + before[axis]:
            steps -= 1
        needed.append(steps * stride + reach - length - before[axis])
    if not tensor.is_floating_point():
        fill = max(fill, torch.iinfo(tensor.dtype).min)
    return F.pad(tensor, padding_list(before, needed), value=fill)


def average_windows(tensor: Tensor, window: Window, *, ceil_mode: bool, count_include_pad: bool) -> Tensor:
    """Return the mean of each window: its sum over the number of its elements that count.

    Args:
        tensor: (batch, channel, spatial...).
        window: The windows.
        ceil_mode: Whether a last window may hang over the end.
        count_include_pad: Whether padding counts; what hangs over the padding never does.
    """
    ones = torch.ones_like(tensor[:1, :1])
    counted = pad_windows(ones, window, ceil_mode=ceil_mode, fill=0.0)
    if count_include_pad:
        inside = F.pad(ones, padding_list(*window.padding(tensor.shape[2:])), value=1.0)
        extra = [have - want for have, want in zip(counted.shape[2:], inside.shape[2:], strict=True)]
        counted = F.pad(inside, padding_list([0] * len(extra), extra))
    padded = pad_windows(tensor, window, ceil_mode=ceil_mode, fill=0.0)
    return _sums(padded, window) / _sums(counted, window)


def norm_windows(tensor: Tensor, window: Window, order: float, *, ceil_mode: bool) -> Tensor:
    """Return the p-norm of each window."""
    padded = pad_windows(tensor.abs() ** order, window, ceil_mode=ceil_mode, fill=0.0)
    norms: Tensor = _sums(padded, window) ** (1.0 / order)
    return norms


def _sums(tensor: Tensor, window: Window) -> Tensor:
    """Return the sum of each window, by a convolution of every plane with ones."""
    batch, channels = tensor.shape[:2]
    ones = tensor.new_ones(1, 1, *window.kernel)
    planes = tensor.reshape(batch * channels, 1, *tensor.shape[2:])
    sums = CONVOLUTIONS[len(window.kernel)](planes, ones, None, window.stride, 0, window.dilation)
    return sums.reshape(batch, channels, *sums.shape[2:])


def _window(operation: Operation, functions: Mapping[int, Callable[..., Any]]) -> Window:
    window = window_of(operation, operation.attribute("kernel_shape"))
    if len(window.kernel) not in functions:
        raise operation.unsupported(f"{len(window.kernel)} spatial axes")
    return window


def _direct(window: Window) -> bool:
    """Whether torch pools with this padding."""
    return window.symmetric and all(2 * pad <= width for pad, width in zip(window.before, window.kernel, strict=True))

"""Convolution and transposed convolution."""

from collections.abc import Callable, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, fx

from phosphene_server.models.graph import FilterGeometry
from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.operators.windows import Window, pad_same, padding_list, window_of
from phosphene_server.models.importers.onnx.values import Value

CONVOLUTIONS: Mapping[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED_CONVOLUTIONS: Mapping[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}
"""Spatial axes -> operation."""


def convolution(operation: Operation) -> Value:
    """Conv: symmetric padding goes to the convolution itself, other padding before it."""
    value, weight, bias = operation.data(0), operation.data(1), operation.optional(2)
    spatial = _spatial_axes(operation, CONVOLUTIONS)
    window = window_of(operation, _kernel(operation, spatial))
    groups = operation.attribute("group", 1)
    padding: tuple[int, ...] = window.before
    if window.same:
        value = operation.call(pad_same, value, window)
    elif not window.symmetric:
        value = operation.call(F.pad, value, padding_list(window.before, window.after))
    if not window.symmetric:
        padding = (0,) * spatial
    _describe(operation, weight, bias, window, groups, transposed=False)
    return operation.call(CONVOLUTIONS[spatial], value, weight, bias, window.stride, padding, window.dilation, groups)


def transposed_convolution(operation: Operation) -> Value:
    """ConvTranspose: padding crops the result; `output_shape` or SAME choose the crop at run time."""
    value, weight, bias = operation.data(0), operation.data(1), operation.optional(2)
    spatial = _spatial_axes(operation, TRANSPOSED_CONVOLUTIONS)
    window = window_of(operation, _kernel(operation, spatial))
    groups = operation.attribute("group", 1)
    extra = tuple(operation.attribute("output_padding", [0] * spatial))
    shape = operation.attribute("output_shape")
    known = shape is None and not window.same
    padding = window.before if known and window.symmetric else (0,) * spatial
    _describe(operation, weight, bias, window, groups, transposed=True)
    function = TRANSPOSED_CONVOLUTIONS[spatial]
    result = operation.call(function, value, weight, bias, window.stride, padding, extra, groups, window.dilation)
    if not known:
        upper = window.automatic == "SAME_UPPER"
        result = operation.call(crop_transposed, result, value, window.stride, shape, upper=upper)
    elif not window.symmetric:
        result = operation.call(F.pad, result, window.negative_padding)
    return result


def crop_transposed(
    tensor: Tensor, source: Tensor, stride: Sequence[int], shape: Sequence[int] | None, *, upper: bool
) -> Tensor:
    """Crop the result of an unpadded transposed convolution to `shape`, by default the input's size times the stride.

    Args:
        tensor: (batch, channel, spatial...).
        source: The input of the convolution.
        stride: One number per spatial axis.
        shape: The wanted lengths of the spatial axes (some files give all axes).
        upper: Whether the odd element is cropped at the end, else at the beginning.
    """
    spatial = len(stride)
    wanted = shape[-spatial:] if shape else [source.shape[2 + axis] * stride[axis] for axis in range(spatial)]
    total = [tensor.shape[2 + axis] - wanted[axis] for axis in range(spatial)]
    smaller = [count // 2 for count in total]
    larger = [count - count // 2 for count in total]
    before, after = (smaller, larger) if upper else (larger, smaller)
    return F.pad(tensor, padding_list([-count for count in before], [-count for count in after]))


def _spatial_axes(operation: Operation, functions: Mapping[int, Callable[..., Tensor]]) -> int:
    rank = operation.rank(1) or operation.rank(0) or len(operation.attribute("kernel_shape", [])) + 2
    if rank - 2 not in functions:
        raise operation.unsupported(f"{rank - 2} spatial axes")
    return rank - 2


def _kernel(operation: Operation, spatial: int) -> Sequence[int]:
    weight = operation.constant(1)
    declared = operation.declared_shape(1)
    if weight is not None:
        return tuple(weight.shape[2:])
    if operation.attribute("kernel_shape") is None and declared is not None and None not in declared:
        return [length or 0 for length in declared[2:]]
    kernel: Sequence[int] = operation.attribute("kernel_shape", [0] * spatial)
    return kernel


def _describe(
    operation: Operation,
    weight: Tensor | fx.Node,
    bias: Tensor | fx.Node | None,
    window: Window,
    groups: int,
    *,
    transposed: bool,
) -> None:
    """Note the geometry of filters that are known; padding that depends on the input is that of the declared size."""
    if not isinstance(weight, Tensor):
        return
    before, after = window.before, window.after
    if window.same and not transposed:
        declared = operation.declared_shape(0) or (None,) * (2 + len(window.kernel))
        lengths = [length or stride for length, stride in zip(declared[2:], window.stride, strict=True)]
        before, after = window.padding(lengths)
    operation.filters = FilterGeometry(
        weight=str(operation.trained(weight, "weight").target),
        bias=str(operation.trained(bias, "bias").target) if isinstance(bias, Tensor) else None,
        stride=window.stride,
        padding=tuple(zip(before, after, strict=True)),
        dilation=window.dilation,
        groups=groups,
        transposed=transposed,
    )

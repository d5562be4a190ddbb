"""Convolutions of one, two and three axes, transposed and grouped, and what is told about their filters."""

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import fx

from phosphene_server.models.graph import FilterGeometry
from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator

FORWARD: dict[int, Callable[..., Any]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED: dict[int, Callable[..., Any]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def _convolution(axes: int | None, *, transposed: bool = False) -> Operator:
    """Make a row for a convolution; `axes` None: as many as the weight has."""

    def lower(emit: Emitter, arguments: Arguments) -> fx.Node:
        count = axes or emit.example(arguments["weight"]).dim() - 2
        backwards = bool(arguments.get("transposed", transposed))
        return (_transposed if backwards else _forward)(emit, arguments, count)

    return Operator("convolution", lower)


def _forward(emit: Emitter, arguments: Arguments, axes: int) -> fx.Node:
    weight, bias = arguments["weight"], arguments.get("bias")
    stride = _per_axis(arguments.get("stride", 1), axes)
    padding = arguments.get("padding", 0)
    padding = padding if isinstance(padding, str) else _per_axis(padding, axes)
    dilation = _per_axis(arguments.get("dilation", 1), axes)
    groups = arguments.get("groups", 1)
    node = emit.call(FORWARD[axes], arguments["input"], weight, bias, stride, padding, dilation, groups)
    sides = _padding_sides(padding, emit.example(weight).shape[2:], dilation)
    _describe(emit, node, weight, bias, stride, sides, dilation, groups, transposed=False)
    return node


def _transposed(emit: Emitter, arguments: Arguments, axes: int) -> fx.Node:
    weight, bias = arguments["weight"], arguments.get("bias")
    stride = _per_axis(arguments.get("stride", 1), axes)
    padding = _per_axis(arguments.get("padding", 0), axes)
    extra = _per_axis(arguments.get("output_padding", 0), axes)
    dilation = _per_axis(arguments.get("dilation", 1), axes)
    groups = arguments.get("groups", 1)
    node = emit.call(TRANSPOSED[axes], arguments["input"], weight, bias, stride, padding, extra, groups, dilation)
    sides = tuple((side, side) for side in padding)
    _describe(emit, node, weight, bias, stride, sides, dilation, groups, transposed=True)
    return node


def _describe(
    emit: Emitter,
    node: fx.Node,
    weight: fx.Node,
    bias: fx.Node | None,
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    groups: int,
    *,
    transposed: bool,
) -> None:
    """Keep the kind, and the geometry where the weight is a trained tensor and not computed from something."""
    emit.kinds[node] = "transposed_convolution" if transposed else "convolution"
    if weight.op != "get_attr":
        return
    bias_name = str(bias.target) if bias is not None and bias.op == "get_attr" else None
    emit.filters[node] = FilterGeometry(str(weight.target), bias_name, stride, padding, dilation, groups, transposed)


def _per_axis(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * axes if len(values) == 1 else values


def _padding_sides(
    padding: str | tuple[int, ...], lengths: Sequence[int], dilation: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """Return the zeros before and after per axis; where `same` is odd, torch puts the larger part behind."""
    if padding == "valid":
        return ((0, 0),) * len(lengths)
    if padding == "same":
        totals = [spread * (length - 1) for spread, length in zip(dilation, lengths, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    return tuple((side, side) for side in padding if isinstance(side, int))


OPERATORS: dict[str, Operator] = {
    "_convolution": _convolution(None),
    "_convolution_mode": _convolution(None),
    "convolution": _convolution(None),
    "conv1d": _convolution(1),
    "conv2d": _convolution(2),
    "conv3d": _convolution(3),
    "conv_transpose1d": _convolution(1, transposed=True),
    "conv_transpose2d": _convolution(2, transposed=True),
    "conv_transpose3d": _convolution(3, transposed=True),
}

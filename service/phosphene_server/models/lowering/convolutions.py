"""Convolutions with arranged weights, and the rectifiers behind them, as one operation."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from phosphene_server.models.lowering.batch_normalization import CONVOLUTION_ARGUMENTS
from phosphene_server.models.lowering.draft import Draft, arguments_of, is_call, only_reader
from phosphene_server.models.lowering.input_gradients import InputGradient, is_channels_last, make_input_gradient
from phosphene_server.models.lowering.kernels import Geometry, PackedConvolution, can_pack
from phosphene_server.models.lowering.rectifiers import RELU, RELUS, is_zero, of_pictures, rectify, redirect
from phosphene_server.models.lowering.winograd import Pair


def pack_convolutions(draft: Draft) -> None:
    """Give convolutions arranged weights, and take in the rectifiers that alone read one."""
    for node in draft.calls(torch.conv2d):
        arguments = arguments_of(node, CONVOLUTION_ARGUMENTS)
        packed = _packed(draft, arguments)
        if packed is None:
            continue
        reader = only_reader(node)
        rectified = is_call(reader, *RELUS)
        module = Convolution(*packed, rectified=rectified)
        call = draft.insert_module(node, module, arguments["input"], draft.redirected)
        draft.replace(node, call)
        if reader is not None and rectified:
            draft.replace(reader, call)


class Convolution(nn.Module):
    """A convolution, rectified or not, with its derivative with respect to its input alone."""

    def __init__(self, convolve: PackedConvolution, input_gradient: InputGradient, *, rectified: bool) -> None:
        super().__init__()
        self.convolve = convolve
        self.input_gradient = input_gradient
        self.rectified = rectified

    def forward(self, values: Tensor, redirected: Tensor | None) -> Tensor:
        """Return the result for (batch, channel, height, width); `redirected` as in rectifiers.py."""
        if not self.convolve.takes(values):
            plain = self.convolve.unpacked(values)
            return rectify(plain, redirected) if self.rectified else plain
        result: Tensor = _Convolution.apply(values, redirected, self)
        return result


class _Convolution(torch.autograd.Function):
    """Keeps its result, for the mask, where it is rectified, and otherwise nothing."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, redirected: Tensor | None, operation: Convolution) -> Tensor:
        """Convolve."""
        result = operation.convolve(values, rectified=operation.rectified)
        ctx.operation, ctx.shape = operation, values.shape
        ctx.layout = torch.channels_last if is_channels_last(result) else torch.contiguous_format
        if operation.rectified:
            ctx.save_for_backward(result, redirected)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the input; where nothing comes, as from other branches than that of a channel, 0."""
        if is_zero(gradient):
            return zeros_like_picture(ctx.shape, gradient), None, None
        if ctx.operation.rectified:
            result, redirected = ctx.saved_tensors
            passed = torch.empty_like(result)
            pass_rectified(gradient, result, redirected, passed)
            gradient = passed
        # What comes from a mean, say, is laid out in no good way, and from here on all gradients would be as slow.
        gradient = gradient.contiguous(memory_format=ctx.layout)
        return ctx.operation.input_gradient(gradient, ctx.shape), None, None


def zeros_like_picture(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return zeros of a shape (batch, channel, height, width), of the type of another tensor, channels last."""
    return torch.empty(tuple(shape), dtype=like.dtype, memory_format=torch.channels_last).zero_()


def pass_rectified(gradient: Tensor, result: Tensor, redirected: Tensor | None, passed: Tensor) -> None:
    """Write what max(0, ·) passes of the gradient of its result to `passed`, in the layout of that."""
    torch.ops.aten.threshold_backward.grad_input(gradient, result, 0, grad_input=passed)
    if redirected is not None and of_pictures(result, redirected):
        redirect(passed, gradient, result, redirected, RELU)


def _packed(draft: Draft, arguments: dict[str, Any]) -> tuple[PackedConvolution, InputGradient] | None:
    """Return a convolution and its derivative with arranged weights; None where that cannot be."""
    weight, bias = draft.tensor(arguments["weight"]), draft.tensor(arguments["bias"])
    if weight is None or not can_pack(weight) or isinstance(arguments["padding"], str):
        return None
    if bias is None and arguments["bias"] is not None:
        return None  # it is computed
    stride, padding, dilation = (_pair(arguments[name]) for name in ("stride", "padding", "dilation"))
    geometry = Geometry(stride, padding, dilation, arguments["groups"])
    return draft.derive("packed", [weight, bias], lambda: make_packed(weight, bias, geometry), geometry)


def make_packed(weight: Tensor, bias: Tensor | None, geometry: Geometry) -> tuple[PackedConvolution, InputGradient]:
    """Return a convolution with an arranged weight, and its derivative."""
    return PackedConvolution(weight, bias, geometry), make_input_gradient(weight, geometry)


def _pair(value: int | Sequence[int]) -> Pair:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values[0], values[-1]

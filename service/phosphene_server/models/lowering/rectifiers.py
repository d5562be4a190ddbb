"""A way up where rectifiers block the gradient.

Where the input of a rectifier is negative, its gradient is zero. A neuron that is silent everywhere in the first,
nearly gray picture gives the ascent no direction at all, and it never starts:

    output      /            gradient      ┌───── 1
               /                           │
     _________/              0 ────────────┘

So for a picture that is redirected, and only where a rectifier would pass nothing to it, the gradient is passed where
it would lift a silent input. The trap: as a general rule this would follow a wrong gradient, for other inputs, that
are not silent, would be paid for it; so it ends as soon as anything passes, and the ascent asks for it during its
first steps alone.

Which pictures are redirected is a tensor, and nothing here asks a GPU what is in it: a step can be captured there. On a
CPU nothing waits for an answer, and asking is what makes redirection nearly free: one pixel of a gradient mostly shows
that a rectifier passes something, and then there is nothing to do.

References:
    Mordvintsev, `misc/redirected_relu_grad.py` in Lucid, https://github.com/tensorflow/lucid, 2018.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from phosphene_server.models.lowering.draft import Draft


@dataclass(frozen=True)
class Bounds:
    """Where a rectifier is flat."""

    low: float | None = None
    """It is flat below; None: nowhere below."""
    high: float | None = None

    def helpful(self, gradient: Tensor, values: Tensor) -> Tensor:
        """Return the part of a gradient, of which nothing passes, that would not push the input further into the flat.

        Where the rectifier is not flat such a gradient is 0.
        """
        if self.high is None:
            return gradient.clamp(min=0)
        if self.low is None:
            return gradient.clamp(max=0)
        harmful = ((values <= self.low) & (gradient < 0)) | ((values >= self.high) & (gradient > 0))
        return gradient.masked_fill(harmful, 0)


RELU = Bounds(0.0)


def _relu_bounds(*_: Any, **__: Any) -> Bounds:
    return RELU


def _relu6_bounds(*_: Any, **__: Any) -> Bounds:
    return Bounds(0.0, 6.0)


def _hardtanh_bounds(min_val: float = -1.0, max_val: float = 1.0, **__: Any) -> Bounds:
    return Bounds(min_val, max_val)


def _clamp_bounds(min: float | None = None, max: float | None = None) -> Bounds:
    return Bounds(min, max)


Function = Callable[..., Tensor]

RELUS: tuple[Function, ...] = (torch.relu, F.relu, torch.ops.aten.relu, torch.ops.aten.relu.default)
"""The names of max(0, ·)."""

_RELU6S: tuple[Function, ...] = (F.relu6, torch.ops.aten.relu6, torch.ops.aten.relu6.default)

_GENERAL_HARDTANHS: tuple[Function, ...] = (F.hardtanh, torch.ops.aten.hardtanh, torch.ops.aten.hardtanh.default)

HARDTANHS = (*_RELU6S, *_GENERAL_HARDTANHS)
"""The names of min(max(low, ·), high), of which nothing passes at the bounds themselves, unlike through a clamp."""

RECTIFIERS: Mapping[Function, Callable[..., Bounds]] = {
    **dict.fromkeys(RELUS, _relu_bounds),
    **dict.fromkeys(_RELU6S, _relu6_bounds),
    **dict.fromkeys(_GENERAL_HARDTANHS, _hardtanh_bounds),
    torch.clamp: _clamp_bounds,
    torch.ops.aten.clamp: _clamp_bounds,
    torch.ops.aten.clamp.default: _clamp_bounds,
}
"""The functions that rectify, and where each of them is flat, from its arguments but the first."""


class Rectifier(nn.Module):
    """A rectifier that is redirected for some pictures."""

    def __init__(self, function: Function) -> None:
        """Take one of `RECTIFIERS`."""
        super().__init__()
        self.function = function

    def forward(self, redirected: Tensor | None, values: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        """Evaluate it.

        Args:
            redirected: Which pictures are redirected, bool, (batch,); None: none is, which costs nothing.
            values: Its input; a rectifier of anything but a batch of the pictures is never redirected.
            arguments: Its other arguments.
            keywords: Its other arguments.
        """
        if redirected is None or not isinstance(values, Tensor) or not of_pictures(values, redirected):
            return self.function(values, *arguments, **keywords)
        bounds = RECTIFIERS[self.function](*arguments, **keywords)
        output: Tensor
        if self.function in RELUS or self.function in HARDTANHS:
            output = _RedirectedByResult.apply(values, redirected, bounds)
        else:
            output = _Redirected.apply(values, redirected, self.function, bounds, arguments, keywords)
        return output


def rectify(values: Tensor, redirected: Tensor | None) -> Tensor:
    """Return max(0, ·), redirected for some pictures."""
    result: Tensor = Rectifier(torch.relu)(redirected, values)
    return result


def make_redirectable(draft: Draft) -> None:
    """Replace the rectifiers of a graph by those that can be redirected."""
    for node in draft.calls(*RECTIFIERS):
        module = Rectifier(cast("Function", node.target))
        draft.replace(node, draft.insert_module(node, module, draft.redirected, *node.args, **node.kwargs))


def of_pictures(values: Tensor, redirected: Tensor) -> bool:
    """Tell whether the first axis of some values is the pictures; otherwise their rectifier is never redirected."""
    return values.shape[:1] == redirected.shape


def redirect(passed: Tensor, gradient: Tensor, values: Tensor, redirected: Tensor, bounds: Bounds) -> None:
    """Replace, in place, what a rectifier passes, for the pictures that are redirected and get nothing through it.

    Gradients are those of what is maximised: a positive one asks for more.

    Args:
        passed: What the rectifier passes, (batch, ...).
        gradient: That of the rectifier's output.
        values: The rectifier's input, or its output.
        redirected: Which pictures are redirected, bool, (batch,).
        bounds: Where the rectifier is flat.
    """
    if passed.numel():
        redirect_on_device = _redirect_asking if passed.device.type == "cpu" else _redirect_without_asking
        redirect_on_device(passed, gradient, values, redirected, bounds)


def _redirect_asking(passed: Tensor, gradient: Tensor, values: Tensor, redirected: Tensor, bounds: Bounds) -> None:
    """Redirect on a CPU, where it costs nothing to look at numbers, and much to compute what is not needed."""
    if _any_in_the_middle(passed).all():
        return
    for picture in (redirected & ~_any(passed)).nonzero().flatten().tolist():
        passed[picture] = bounds.helpful(gradient[picture], values[picture])


def _redirect_without_asking(
    passed: Tensor, gradient: Tensor, values: Tensor, redirected: Tensor, bounds: Bounds
) -> None:
    """Redirect on a device that computes while we go on, and whose steps are captured."""
    blocked = (redirected & ~_any(passed)).reshape(-1, *[1] * (passed.dim() - 1))
    torch.where(blocked, bounds.helpful(gradient, values), passed, out=passed)


def is_zero(gradient: Tensor) -> bool:
    """Tell whether a gradient, (batch, channel, height, width) on a CPU, is 0 throughout: one pixel mostly shows it."""
    return not gradient.numel() or not (_any_in_the_middle(gradient).any() or _any(gradient).any())


def _any_in_the_middle(values: Tensor) -> Tensor:
    """Tell for each picture whether the pixel in the middle of some values has any other than 0."""
    for length in values.shape[2:]:
        values = values.select(2, length // 2)
    return values.reshape(len(values), -1).any(dim=1)


def _any(values: Tensor) -> Tensor:
    """Tell for each picture whether there is any value other than 0, be it no number."""
    if values.dim() == 1:
        return values != 0
    axes = tuple(range(1, values.dim()))
    # Not `any`, which takes three times as long on a CPU.
    return (values.amax(dim=axes) != 0) | (values.amin(dim=axes) != 0)


class _RedirectedByResult(torch.autograd.Function):
    """A rectifier whose result tells what passes, with a backward pass that is redirected."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, redirected: Tensor, bounds: Bounds) -> Tensor:
        """Evaluate the rectifier."""
        if bounds.low is None or bounds.high is None:
            result = torch.relu(values)
        else:
            result = F.hardtanh(values, bounds.low, bounds.high)
        ctx.bounds = bounds
        ctx.save_for_backward(result, redirected)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the input, redirected."""
        result, redirected = ctx.saved_tensors
        bounds = ctx.bounds
        if bounds.high is None:
            passed = torch.ops.aten.threshold_backward(gradient, result, 0)
        else:
            passed = torch.ops.aten.hardtanh_backward(gradient, result, bounds.low, bounds.high)
        redirect(passed, gradient, result, redirected, bounds)
        return passed, None, None


class _Redirected(torch.autograd.Function):
    """Any other rectifier with a backward pass that is redirected."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        redirected: Tensor,
        function: Function,
        bounds: Bounds,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> Tensor:
        """Evaluate the rectifier."""
        # Torch says what passes: at the bounds themselves its versions do not agree.
        ctx.values = values.detach().requires_grad_()
        with torch.enable_grad():
            ctx.output = function(ctx.values, *arguments, **keywords)
        ctx.redirected, ctx.bounds = redirected, bounds
        output: Tensor = ctx.output.detach()
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        """Return the gradient of the input, redirected."""
        (passed,) = torch.autograd.grad(ctx.output, ctx.values, gradient)
        redirect(passed, gradient, ctx.values.detach(), ctx.redirected, ctx.bounds)
        return passed, None, None, None, None, None

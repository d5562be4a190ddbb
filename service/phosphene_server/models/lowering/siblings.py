"""Rectified convolutions of one pixel that read the same value become one convolution with the filters of all.

The branches of an inception block begin so. One large product keeps the cores busier than three small ones, and the
gradient of what they read is the result of one convolution instead of a sum of three.
"""

import operator
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.autograd.function import once_differentiable

from phosphene_server.models.lowering.batch_normalization import CONVOLUTION_ARGUMENTS
from phosphene_server.models.lowering.convolutions import make_packed, pass_rectified, zeros_like_picture
from phosphene_server.models.lowering.draft import Draft, arguments_of, is_call, only_reader
from phosphene_server.models.lowering.input_gradients import InputGradient
from phosphene_server.models.lowering.kernels import Geometry, PackedConvolution, can_pack
from phosphene_server.models.lowering.rectifiers import RELUS, is_zero, rectify

_ONE_PIXEL = ({"stride": 1, "padding": 0, "dilation": 1}, {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)})


def merge_siblings(draft: Draft) -> None:
    """Merge rectified convolutions of one pixel, of the same value, with biases."""
    families: dict[fx.Node, list[fx.Node]] = defaultdict(list)
    for node in draft.calls(torch.conv2d):
        if _can_merge(draft, node):
            families[arguments_of(node, CONVOLUTION_ARGUMENTS)["input"]].append(node)
    for members in families.values():
        if len(members) > 1:
            _merge(draft, members)


class Siblings(nn.Module):
    """Several rectified convolutions of one value."""

    def __init__(self, convolve: PackedConvolution, input_gradient: InputGradient, filters: Sequence[int]) -> None:
        super().__init__()
        self.convolve = convolve
        self.input_gradient = input_gradient
        self.filters = list(filters)

    def forward(self, values: Tensor, redirected: Tensor | None) -> tuple[Tensor, ...]:
        """Return the result of each for (batch, channel, height, width); `redirected` as in rectifiers.py."""
        if not self.convolve.takes(values):
            return torch.split(rectify(self.convolve.unpacked(values), redirected), self.filters, dim=-3)
        results: tuple[Tensor, ...] = _Siblings.apply(values, redirected, self)
        return results


class _Siblings(torch.autograd.Function):
    """Keeps its results, for the masks."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, redirected: Tensor | None, operation: Siblings) -> tuple[Tensor, ...]:
        """Convolve."""
        result = operation.convolve(values, rectified=True)
        ctx.operation, ctx.shape = operation, values.shape
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(result, redirected)
        return torch.split(result, operation.filters, dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor, None, None]:
        """Return the gradient of the input."""
        result, redirected = ctx.saved_tensors
        gradients = tuple(None if gradient is None or is_zero(gradient) else gradient for gradient in gradients)
        if not any(gradient is not None for gradient in gradients):
            return zeros_like_picture(ctx.shape, result), None, None
        joined = torch.empty_like(result)
        owns, parts = (torch.split(whole, ctx.operation.filters, dim=1) for whole in (result, joined))
        for gradient, own, passed in zip(gradients, owns, parts, strict=True):
            if gradient is None:
                passed.zero_()
            else:
                pass_rectified(gradient, own, redirected, passed)
        return ctx.operation.input_gradient(joined, ctx.shape), None, None


def _can_merge(draft: Draft, node: fx.Node) -> bool:
    arguments = arguments_of(node, CONVOLUTION_ARGUMENTS)
    weight, bias = draft.tensor(arguments["weight"]), draft.tensor(arguments["bias"])
    if weight is None or bias is None or not can_pack(weight) or weight.shape[2:] != (1, 1):
        return False
    slide = {name: _plain(arguments[name]) for name in ("stride", "padding", "dilation")}
    return slide in _ONE_PIXEL and arguments["groups"] == 1 and is_call(only_reader(node), *RELUS)


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _merge(draft: Draft, members: Sequence[fx.Node]) -> None:
    own = [arguments_of(node, CONVOLUTION_ARGUMENTS) for node in members]
    weights = [cast("Tensor", draft.tensor(arguments["weight"])) for arguments in own]
    biases = [cast("Tensor", draft.tensor(arguments["bias"])) for arguments in own]
    packed = draft.derive(
        "merged", [*weights, *biases], lambda: make_packed(torch.cat(weights), torch.cat(biases), Geometry())
    )
    module = Siblings(*packed, [len(weight) for weight in weights])
    call = draft.insert_module(members[0], module, own[0]["input"], draft.redirected)
    for index, node in enumerate(members):
        rectifier = only_reader(node)
        assert rectifier is not None
        with draft.graph.inserting_after(call):
            part = draft.graph.call_function(operator.getitem, (call, index))
        draft.replace(rectifier, part)
        draft.graph.erase_node(node)

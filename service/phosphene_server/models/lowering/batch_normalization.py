"""Batch normalizations become a part of the convolution before them.

With the statistics of training a normalization is a factor and a summand for each channel; those of a convolution's
result may as well be in its weight and bias. Exporters do so when they write ONNX; TorchScript and torch.export files
keep both.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from phosphene_server.models.lowering.draft import Draft, arguments_of, is_call, only_reader

CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)

CONVOLUTION_ARGUMENTS: Mapping[str, Any] = {
    "input": None,
    "weight": None,
    "bias": None,
    "stride": 1,
    "padding": 0,
    "dilation": 1,
    "groups": 1,
}
"""The arguments of `CONVOLUTIONS`, with their defaults."""

NORMALIZATION_ARGUMENTS: Mapping[str, Any] = {
    "input": None,
    "running_mean": None,
    "running_var": None,
    "weight": None,
    "bias": None,
    "training": False,
    "momentum": 0.1,
    "eps": 1e-5,
}
"""The arguments of `F.batch_norm`, with their defaults."""


def fold_batch_normalizations(draft: Draft) -> None:
    """Fold normalizations into convolutions whose values nothing else reads."""
    for node in draft.calls(F.batch_norm):
        arguments = arguments_of(node, NORMALIZATION_ARGUMENTS)
        convolution = arguments["input"]
        alone = is_call(convolution, *CONVOLUTIONS) and only_reader(convolution) is node
        if alone and not arguments["training"]:
            _fold(draft, convolution, node, arguments)


def _fold(draft: Draft, convolution: fx.Node, node: fx.Node, arguments: Mapping[str, Any]) -> None:
    own = arguments_of(convolution, CONVOLUTION_ARGUMENTS)
    named = [own["weight"], own["bias"]]
    named += [arguments[name] for name in ("running_mean", "running_var", "weight", "bias")]
    tensors = [draft.tensor(value) for value in named]
    if any(tensor is None and value is not None for tensor, value in zip(tensors, named, strict=True)):
        return  # something is computed
    epsilon = arguments["eps"]
    weight, bias = draft.derive("folded", tensors, lambda: _folded(*tensors, epsilon=epsilon), epsilon)
    own |= {"weight": draft.insert_tensor(convolution, weight), "bias": draft.insert_tensor(convolution, bias)}
    convolution.args, convolution.kwargs = tuple(own.values()), {}
    draft.replace(node, convolution)


def _folded(
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    factor: Tensor | None,
    summand: Tensor | None,
    *,
    epsilon: float,
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution with the normalization behind it, computed in float64."""
    assert weight is not None
    assert mean is not None
    assert variance is not None
    scale = (variance.double() + epsilon).rsqrt()
    scale = scale if factor is None else scale * factor.double()
    shift = (-mean.double() if bias is None else bias.double() - mean.double()) * scale
    shift = shift if summand is None else shift + summand.double()
    folded = weight.double() * scale.reshape(-1, *[1] * (weight.dim() - 1))  # keeps the layout of the weight
    return folded.to(weight.dtype), shift.to(weight.dtype)

"""Networks that were quantized with PyTorch 2 Export: pairs of operators that quantize a value and take it back.

A quantized value stays a floating-point tensor that holds whole numbers, and rounding has a straight-through gradient
(Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons", https://arxiv.org/abs/1308.3432,
2013): that of a pair is the identity where the value was not clipped and zero where it was. Weights are taken back at
import, so that a quantized convolution has filters like any other.
"""

from typing import Any

import torch
from torch import Tensor, fx

from phosphene_server.models.importers.aten.creation import as_floating
from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator

Scale = float | Tensor


def quantize(value: Tensor, scale: Scale, zero_point: int | Tensor, smallest: int, largest: int) -> Tensor:
    """Return round(value / scale) + zero_point, clipped; its gradient passes the rounding by."""
    exact = value * (1.0 / scale)
    limited = torch.clamp(exact + zero_point, smallest, largest)
    rounded = torch.clamp(torch.round(exact) + zero_point, smallest, largest)
    return rounded.detach() + (limited - limited.detach())


def dequantize(value: Tensor, scale: Scale, zero_point: int | Tensor, reference: Tensor) -> Tensor:
    """Return (value - zero_point) * scale; whole numbers in the type of `reference`."""
    return (as_floating(value, reference) - zero_point) * scale


def along_axis(tensor: Tensor, like: Tensor, axis: int) -> Tensor:
    """Return one number per channel so that it broadcasts along an axis of `like`."""
    shape = [1] * like.dim()
    shape[axis] = -1
    return tensor.reshape(shape)


def _quantize(emit: Emitter, a: Arguments) -> Any:
    return emit.call(quantize, a["input"], a["scale"], a["zero_point"], a["quant_min"], a["quant_max"])


def _quantize_channels(emit: Emitter, a: Arguments) -> Any:
    scale, zero_point = _per_channel(emit, a)
    return emit.call(quantize, a["input"], scale, zero_point, a["quant_min"], a["quant_max"])


def _dequantize(emit: Emitter, a: Arguments) -> Any:
    return _taken_back(emit, a["input"], a["scale"], a["zero_point"])


def _dequantize_channels(emit: Emitter, a: Arguments) -> Any:
    return _taken_back(emit, a["input"], *_per_channel(emit, a))


def _per_channel(emit: Emitter, a: Arguments) -> tuple[Any, Any]:
    scale = _folded(emit, emit.call(along_axis, a["scales"], a["input"], a["axis"]))
    if a.get("zero_points") is None:
        return scale, 0
    return scale, _folded(emit, emit.call(along_axis, a["zero_points"], a["input"], a["axis"]))


def _taken_back(emit: Emitter, value: fx.Node, scale: Any, zero_point: Any) -> Any:
    return _folded(emit, emit.call(dequantize, value, scale, zero_point, emit.reference))


def _folded(emit: Emitter, node: fx.Node) -> fx.Node:
    """Return a trained tensor in the place of what is computed from trained tensors alone."""
    sources = [source for source in node.all_input_nodes if source is not emit.reference]
    if any(source.op != "get_attr" for source in sources):
        return node
    tensors = {source: emit.builder.root.get_buffer(str(source.target)) for source in sources}
    tensors.setdefault(emit.reference, torch.empty(0))
    arguments = fx.node.map_arg(node.args, tensors.__getitem__)
    return emit.tensor(f"{sources[0].target}_{node.name}", node.target(*arguments))  # type: ignore[operator]


OPERATORS: dict[str, Operator] = {
    "quantized_decomposed.quantize_per_tensor": Operator("quantization", _quantize),
    "quantized_decomposed.dequantize_per_tensor": Operator("quantization", _dequantize),
    "quantized_decomposed.quantize_per_channel": Operator("quantization", _quantize_channels),
    "quantized_decomposed.dequantize_per_channel": Operator("quantization", _dequantize_channels),
}

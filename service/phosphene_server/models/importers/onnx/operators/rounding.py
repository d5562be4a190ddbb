"""Rounding to what few bits can hold, with a straight-through gradient.

Rounding is constant nearly everywhere, so its true gradient is zero and would end every ascent at the first quantized
value. The straight-through estimator takes it for the identity instead, as far as the value is within the range of the
target type, and zero where the value was clipped (Bengio, Léonard and Courville, "Estimating or Propagating Gradients
Through Stochastic Neurons", https://arxiv.org/abs/1308.3432, 2013; Jacob et al., "Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference", https://arxiv.org/abs/1712.05877, 2018). The results stay
floating-point tensors that hold nothing but numbers of the target type.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from onnx import TensorProto
from torch import Tensor


class SmallFloat(NamedTuple):
    """A floating-point type of at most 8 bits."""

    mantissa_bits: int
    least_exponent: int
    """Of its smallest normal number."""
    largest: float
    beyond: float | None
    """What numbers above the largest become where they are not clipped; None: they are always clipped, and the type
    has no NaN either, which becomes zero."""


SMALL_FLOATS: Mapping[int, SmallFloat] = {
    TensorProto.FLOAT8E4M3FN: SmallFloat(3, -6, 448.0, math.nan),
    TensorProto.FLOAT8E4M3FNUZ: SmallFloat(3, -7, 240.0, math.nan),
    TensorProto.FLOAT8E5M2: SmallFloat(2, -14, 57344.0, math.inf),
    TensorProto.FLOAT8E5M2FNUZ: SmallFloat(2, -15, 57344.0, math.nan),
    TensorProto.FLOAT4E2M1: SmallFloat(1, 0, 6.0, None),
}
"""ONNX type -> its numbers. Micikevicius et al., "FP8 Formats for Deep Learning", https://arxiv.org/abs/2209.05433,
2022; Open Compute Project, "OCP Microscaling Formats (MX) Specification", 2023."""

LEAST_POWER, LARGEST_POWER = -127, 127
"""Exponents of FLOAT8E8M0, whose numbers are powers of two."""


class _StraightThrough(torch.autograd.Function):
    """One tensor with the gradient of another, in some places."""

    @staticmethod
    def forward(ctx: Any, source: Tensor, result: Tensor, inside: Tensor) -> Tensor:
        ctx.save_for_backward(inside)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None


def straight_through(source: Tensor, result: Tensor, inside: Tensor) -> Tensor:
    """Return `result`, whose gradient goes to `source` as if it were the same, where it is `inside` the range.

    `torch.clamp` does not say where the range ends: some versions of torch give its ends no gradient, and there many
    quantized values are.
    """
    passed: Tensor = _StraightThrough.apply(source, result.detach(), inside)
    return passed


def to_integers(tensor: Tensor, offset: Tensor | None, low: int, high: int) -> Tensor:
    """Round to the nearest integer, halves to the even one, add an offset and clip to a range, its ends included."""
    steps = torch.round(tensor.detach())
    steps = steps if offset is None else steps + offset
    return straight_through(tensor, steps.clamp(low, high), (steps >= low) & (steps <= high))


def to_small_float(tensor: Tensor, element_type: int, *, saturate: bool) -> Tensor:
    """Round to the nearest number of a small floating-point type.

    Args:
        tensor: Any floating-point tensor.
        element_type: A key of SMALL_FLOATS.
        saturate: Whether numbers beyond the largest become the largest; else they become NaN or infinite.
    """
    kind, source = SMALL_FLOATS[element_type], tensor.detach()
    exponent = torch.frexp(source)[1].clamp(min=kind.least_exponent + 1) - 1
    step = torch.exp2((exponent - kind.mantissa_bits).to(source.dtype))
    # What is not finite has no exponent.
    nearest = torch.where(source.isfinite(), torch.round(source / step) * step, source)
    inside = nearest.abs() <= kind.largest
    if kind.beyond is None:
        nearest = nearest.nan_to_num(0.0).clamp(-kind.largest, kind.largest)
    elif saturate:
        nearest = nearest.clamp(-kind.largest, kind.largest)
    else:
        beyond = torch.copysign(torch.full_like(source, kind.beyond), source)
        nearest = torch.where(nearest.abs() > kind.largest, beyond, nearest)
    return straight_through(tensor, nearest, inside)


def to_power_of_two(tensor: Tensor, mode: str, *, saturate: bool) -> Tensor:
    """Round positive numbers to a power of two, as FLOAT8E8M0 holds them.

    Args:
        tensor: Any floating-point tensor; what becomes of negative numbers is not defined.
        mode: `up`, `down` or `nearest`, where halves go up.
        saturate: Whether numbers beyond the largest become the largest; else they become NaN.
    """
    source = tensor.detach()
    fraction, exponent = torch.frexp(source)  # fraction in [0.5, 1)
    threshold = {"up": 0.5, "down": 1.0, "nearest": 0.75}[mode]
    up = fraction >= threshold if mode == "nearest" else fraction > threshold
    power = (exponent - 1 + up.to(exponent.dtype)).clamp(min=LEAST_POWER)
    power = torch.where(source > 0, power, LEAST_POWER)
    result = torch.ldexp(torch.ones_like(source), power.clamp(max=LARGEST_POWER))
    if not saturate:
        result = torch.where((power > LARGEST_POWER) | (source == 0) | source.isinf(), math.nan, result)
    result = torch.where(source.isinf(), 2.0**LARGEST_POWER if saturate else math.nan, result)
    inside = (source > 0) & (power <= LARGEST_POWER)
    return straight_through(tensor, torch.where(source.isnan(), source, result), inside)

"""Interpolation along one axis after the other, as the ONNX specification writes it.

For every place of the output: where it lies in the input, and which inputs weigh how much there. One axis after the
other, since all modes are separable.

References:
    ONNX operator specification, Resize-19 (https://onnx.ai/onnx/operators/onnx__Resize.html).
    R. Keys, Cubic convolution interpolation for digital image processing, 1981, IEEE Transactions on ASSP 29.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CUBIC_COEFFICIENT = -0.75
"""The parameter of cubic convolution in torch, and in ONNX where a file gives none."""


@dataclass(frozen=True)
class Interpolation:
    """How places map and what counts at them; the names are those of the specification."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    rounding: str = "round_prefer_floor"
    """How `nearest` rounds."""
    coefficient: float = CUBIC_COEFFICIENT
    """The parameter a of cubic convolution."""
    exclude_outside: bool = False
    """Whether weights outside of the input become 0 instead of going to the border."""
    antialias: bool = False
    """Whether kernels get wider where the output is smaller."""
    extrapolation: float = 0.0
    """The value outside of the input, for `tf_crop_and_resize`."""
    policy: str = "stretch"
    """Whether lengths keep the aspect ratio: `stretch`, `not_larger` or `not_smaller`."""

    __name__ = "resize_axes"  # fx wants one of what it calls

    def __call__(
        self,
        tensor: Tensor,
        scales: Sequence[float] | None,
        lengths: Sequence[int] | None,
        axes: Sequence[int] | None,
        region: Sequence[float] | None,
    ) -> Tensor:
        """Resize every axis whose length or scale changes.

        Args:
            tensor: Any shape.
            scales: Output length over input length, for each of the axes.
            lengths: Output lengths, for each of the axes; they win.
            axes: None: all, in order.
            region: The part of the input to resize, for `tf_crop_and_resize`: the start along each of the axes, then
                the ends, where 0 and 1 are the first and the last element.
        """
        chosen = [axis % tensor.ndim for axis in axes] if axes is not None else list(range(tensor.ndim))
        own = [tensor.shape[axis] for axis in chosen]
        factors, counts = _factors(own, scales, lengths, self.policy)
        for position, axis in enumerate(chosen):
            part = (region[position], region[position + len(chosen)]) if region else (0.0, 1.0)
            if counts[position] == own[position] and factors[position] == 1.0 and part == (0.0, 1.0):
                continue
            tensor = _resize_axis(tensor, axis, counts[position], factors[position], part, self)
        return tensor


def _factors(
    own: Sequence[int], scales: Sequence[float] | None, lengths: Sequence[int] | None, policy: str
) -> tuple[list[float], list[int]]:
    """Return the scale and the output length of each axis."""
    if not lengths:
        factors = [float(scale) for scale in scales or ()]
        return factors, [int(length * scale) for length, scale in zip(own, factors, strict=True)]
    factors = [int(wanted) / length for wanted, length in zip(lengths, own, strict=True)]
    if policy == "stretch":
        return factors, [int(length) for length in lengths]
    scale = min(factors) if policy == "not_larger" else max(factors)
    return [scale] * len(own), [int(scale * length + 0.5) for length in own]


def _resize_axis(
    tensor: Tensor, axis: int, count: int, scale: float, part: tuple[float, float], how: Interpolation
) -> Tensor:
    length = tensor.shape[axis]
    places = _source_places(count, length, scale, part, how.coordinates)
    indices, weights = _taps(places, scale, how)
    if how.exclude_outside:
        weights = torch.where((indices < 0) | (indices >= length), 0.0, weights)
        weights = weights / weights.sum(dim=0)
    indices = indices.clamp(0, length - 1)
    if len(indices) == 1:
        result = tensor.index_select(axis, indices[0].to(tensor.device))
    else:
        result = _weighed(tensor, indices, weights, axis)
    if how.coordinates != "tf_crop_and_resize":
        return result
    outside = ((places < 0) | (places > length - 1)).to(tensor.device)
    shape = [-1 if other == axis else 1 for other in range(tensor.ndim)]
    return result.masked_fill(outside.reshape(shape), how.extrapolation)


def _source_places(count: int, length: int, scale: float, part: tuple[float, float], coordinates: str) -> Tensor:
    """Return where each of `count` places of the output lies in the input, in float64."""
    places = torch.arange(count, dtype=torch.float64)
    whole = scale * length  # the output length before it was rounded down
    if coordinates == "align_corners":
        return places * ((length - 1) / (whole - 1)) if whole != 1 else torch.zeros_like(places)
    if coordinates == "asymmetric":
        return places / scale
    if coordinates == "tf_crop_and_resize":
        start, end = part
        if whole == 1:
            return torch.full_like(places, (start + end) * (length - 1) / 2)
        return start * (length - 1) + places * ((end - start) * (length - 1) / (whole - 1))
    if coordinates == "pytorch_half_pixel" and count == 1:
        return torch.zeros_like(places)
    if coordinates == "half_pixel_symmetric":
        return length / 2 * (1 - count / whole) + (places + 0.5) / scale - 0.5
    if coordinates in ("half_pixel", "pytorch_half_pixel"):
        return (places + 0.5) / scale - 0.5
    raise ValueError(f"Resize has no coordinate transformation {coordinates!r}")


def _taps(places: Tensor, scale: float, how: Interpolation) -> tuple[Tensor, Tensor]:
    """Return which inputs count at each place and how much, both (tap, place)."""
    if how.mode == "nearest":
        nearest = _ROUNDINGS[how.rounding](places)
        return nearest.long()[None], torch.ones(1, len(places), dtype=torch.float64)
    if how.mode not in ("linear", "cubic"):
        raise ValueError(f"Resize has no mode {how.mode!r}")
    squeeze = min(scale, 1.0) if how.antialias else 1.0
    radius = 1 if how.mode == "linear" else 2
    reach = int(-(-radius // squeeze))  # a kernel that is wider by 1 / squeeze
    indices = places.floor().long() + torch.arange(1 - reach, reach + 1)[:, None]
    distance = (places - indices).abs() * squeeze
    weights = (1 - distance).clamp(min=0) if how.mode == "linear" else cubic_weight(distance, how.coefficient)
    return indices, weights / weights.sum(dim=0) if how.antialias else weights


def cubic_weight(distance: Tensor, a: float) -> Tensor:
    """Return how much an element counts at a distance, in elements, by cubic convolution (Keys, equation 15).

    Args:
        distance: 0 or more; from 2 on nothing counts.
        a: The parameter of the convolution: its slope at 1.
    """
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))


def _weighed(tensor: Tensor, indices: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Return the weighted sum over taps along an axis, as a product with the matrix of the weights."""
    matrix = torch.zeros(indices.shape[1], tensor.shape[axis], dtype=torch.float64)
    rows = torch.arange(indices.shape[1]).expand_as(indices)
    matrix = matrix.index_put((rows, indices), weights, accumulate=True)
    dtype = tensor.dtype if tensor.is_floating_point() else torch.float64
    matrix = matrix.to(tensor.device, dtype)
    product = torch.matmul(tensor.to(dtype).movedim(axis, -1), matrix.t()).movedim(-1, axis)
    return product if tensor.is_floating_point() else _saturated(product, tensor.dtype)


def _saturated(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return numbers as integers, cut off towards zero, those that do not fit at the ends of the type."""
    information = torch.iinfo(dtype)
    return tensor.clamp(information.min, information.max).to(dtype)


def _round_half_down(places: Tensor) -> Tensor:
    return (places - 0.5).ceil()


def _round_half_up(places: Tensor) -> Tensor:
    return (places + 0.5).floor()


_ROUNDINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "round_prefer_floor": _round_half_down,
    "round_prefer_ceil": _round_half_up,
    "floor": torch.floor,
    "ceil": torch.ceil,
}

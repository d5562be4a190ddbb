"""Resize and Upsample: interpolation along each axis in turn.

The common forms are `F.interpolate`. All others are computed as the specification writes them: for every place of the
output, where it lies in the input, and which inputs weigh how much there; one axis after the other, since all modes are
separable.

References:
    ONNX operator specification, Resize-19 (https://onnx.ai/onnx/operators/onnx__Resize.html).
    R. Keys, Cubic convolution interpolation for digital image processing, 1981, IEEE Transactions on ASSP 29.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from phosphene_server.models.importers.onnx.operation import Numbers, Operation
from phosphene_server.models.importers.onnx.values import Value

LINEAR_NAMES = {3: "linear", 4: "bilinear", 5: "trilinear"}
"""Rank -> what `F.interpolate` calls interpolation along each spatial axis."""

TORCH_COEFFICIENT = -0.75
"""The parameter of cubic convolution in torch, and the default in ONNX."""


@dataclass(frozen=True)
class Interpolation:
    """How places map and what counts at them; the names are those of the specification."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    rounding: str = "round_prefer_floor"
    """How `nearest` rounds."""
    coefficient: float = TORCH_COEFFICIENT
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


def resize(operation: Operation) -> Value:
    """Resize: to `sizes`, or by `scales`; with scales alone before opset 11."""
    mode = operation.attribute("mode", "nearest")
    if operation.opset < 11:
        return _resized(operation, operation.numbers(1), None, Interpolation(mode, "asymmetric", "floor"))
    how = Interpolation(
        mode,
        operation.attribute("coordinate_transformation_mode", "half_pixel"),
        operation.attribute("nearest_mode", "round_prefer_floor"),
        operation.attribute("cubic_coeff_a", TORCH_COEFFICIENT),
        bool(operation.attribute("exclude_outside", 0)),
        bool(operation.attribute("antialias", 0)),
        operation.attribute("extrapolation_value", 0.0),
        operation.attribute("keep_aspect_ratio_policy", "stretch"),
    )
    return _resized(operation, operation.numbers(2) or None, operation.numbers(3) or None, how)


def upsample(operation: Operation) -> Value:
    """Upsample, which Resize replaced in opset 10: scales are an attribute before opset 9."""
    scales = operation.attribute("scales") or operation.numbers(1)
    how = Interpolation(operation.attribute("mode", "nearest"), "asymmetric", "floor")
    return _resized(operation, scales, None, how)


def _resized(operation: Operation, scales: Numbers | None, lengths: Numbers | None, how: Interpolation) -> Value:
    value, axes = operation.data(0), operation.attribute("axes")
    if axes is None and operation.is_floating(0) and _is_interpolation(operation, scales, lengths):
        direct = _interpolation(how, operation.rank(0), scales)
        if direct is not None:
            spatial = lengths[2:] if isinstance(lengths, list) else None
            factors = scales[2:] if spatial is None and isinstance(scales, list) else None
            return operation.call(F.interpolate, value, size=spatial, scale_factor=factors, **direct)
    region = operation.numbers(1) if how.coordinates == "tf_crop_and_resize" else None
    return operation.call(how, value, scales, lengths, axes, region)


def _is_interpolation(operation: Operation, scales: Numbers | None, lengths: Numbers | None) -> bool:
    """Whether batch and channel stay as they are, for certain."""
    if isinstance(scales, list) and scales:
        return list(scales[:2]) == [1.0, 1.0]
    declared = operation.declared_shape(0)
    if not isinstance(lengths, list) or declared is None or len(lengths) != len(declared):
        return False
    # Lengths of batch and channel that were read from an activation at run time are taken for those of the input.
    return all(
        isinstance(length, fx.Node) or length == own for length, own in zip(lengths[:2], declared[:2], strict=True)
    )


def _interpolation(how: Interpolation, rank: int | None, scales: Numbers | None) -> dict[str, Any] | None:
    """Return the arguments with which `F.interpolate` does the same, None if it does not."""
    whole = isinstance(scales, list) and all(isinstance(scale, float) and scale.is_integer() for scale in scales)
    if how.antialias or how.exclude_outside or how.policy != "stretch":
        return None
    if how.mode == "nearest":
        return _nearest(how, enlarged=whole)
    if how.coordinates not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        return None
    if how.coordinates == "align_corners" and scales and not whole:
        return None  # the specification takes the fraction that a length loses for a part of the picture
    if how.mode == "linear" and rank in LINEAR_NAMES:
        return {"mode": LINEAR_NAMES[rank], "align_corners": how.coordinates == "align_corners"}
    if how.mode == "cubic" and rank == 4 and how.coefficient == TORCH_COEFFICIENT:
        return {"mode": "bicubic", "align_corners": how.coordinates == "align_corners"}
    return None


def _nearest(how: Interpolation, *, enlarged: bool) -> dict[str, Any] | None:
    if how.coordinates == "asymmetric" and how.rounding == "floor":
        return {"mode": "nearest"}
    centred = how.coordinates in ("half_pixel", "pytorch_half_pixel")
    # Where the picture grows by a whole number no place lies halfway, so that all ways to round agree.
    if centred and (how.rounding == "round_prefer_ceil" or (enlarged and how.rounding == "round_prefer_floor")):
        return {"mode": "nearest-exact"}
    return None


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
    weights = (1 - distance).clamp(min=0) if how.mode == "linear" else _cubic(distance, how.coefficient)
    return indices, weights / weights.sum(dim=0) if how.antialias else weights


def _cubic(distance: Tensor, a: float) -> Tensor:
    """Return the weights of cubic convolution (Keys, equation 15)."""
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

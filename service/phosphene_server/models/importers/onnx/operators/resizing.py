"""Resize and Upsample: interpolation along each axis in turn.

The common forms are `F.interpolate`. All others are computed as the specification writes them: for every place of the
output, where it lies in the input, and which inputs weigh how much there; one axis after the other, since all modes are
separable.

References:
    ONNX operator specification, Resize-19 (https://onnx.ai/onnx/operators/onnx__Resize.html).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from phosphene_server.models.importers.onnx.operation import Numbers, Operation
from phosphene_server.models.importers.onnx.values import Value

LINEAR_NAMES = {3: "linear", 4: "bilinear", 5: "trilinear"}
"""Rank -> what `F.interpolate` calls interpolation along each spatial axis."""


def resize(operation: Operation) -> Value:
    """Resize: to `sizes`, or by `scales`; region, antialiasing and policies are refused where they are used."""
    if operation.opset < 11:
        return _resized(operation, operation.numbers(1), None, coordinates="asymmetric", rounding="floor")
    coordinates = operation.attribute("coordinate_transformation_mode", "half_pixel")
    policy = operation.attribute("keep_aspect_ratio_policy", "stretch")
    if coordinates == "tf_crop_and_resize" or operation.attribute("antialias", 0) or policy != "stretch":
        raise operation.unsupported("a region, antialiasing or a policy for the aspect ratio")
    scales, lengths = operation.numbers(2) or None, operation.numbers(3) or None
    rounding = operation.attribute("nearest_mode", "round_prefer_floor")
    return _resized(operation, scales, lengths, coordinates=coordinates, rounding=rounding)


def upsample(operation: Operation) -> Value:
    """Upsample, which Resize replaced in opset 10: scales are an attribute before opset 9."""
    scales = operation.attribute("scales") or operation.numbers(1)
    return _resized(operation, scales, None, coordinates="asymmetric", rounding="floor")


def _resized(
    operation: Operation, scales: Numbers | None, lengths: Numbers | None, *, coordinates: str, rounding: str
) -> Value:
    value, mode = operation.data(0), operation.attribute("mode", "nearest")
    axes = operation.attribute("axes")
    if axes is None and _is_interpolation(operation, scales, lengths):
        direct = _interpolation(mode, coordinates, rounding, operation.rank(0))
        if direct is not None:
            spatial = lengths[2:] if isinstance(lengths, list) else None
            factors = scales[2:] if spatial is None and isinstance(scales, list) else None
            return operation.call(F.interpolate, value, size=spatial, scale_factor=factors, **direct)
    coefficient = operation.attribute("cubic_coeff_a", -0.75)
    outside = bool(operation.attribute("exclude_outside", 0))
    return operation.call(
        resize_axes, value, scales, lengths, axes, mode, coordinates, rounding, coefficient, exclude_outside=outside
    )


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


def _interpolation(mode: str, coordinates: str, rounding: str, rank: int | None) -> dict[str, Any] | None:
    """Return the arguments with which `F.interpolate` does the same, None if it does not."""
    if mode == "nearest" and coordinates == "asymmetric" and rounding == "floor":
        return {"mode": "nearest"}
    if (
        mode == "linear"
        and rank in LINEAR_NAMES
        and coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners")
    ):
        return {"mode": LINEAR_NAMES[rank], "align_corners": coordinates == "align_corners"}
    return None


def resize_axes(
    tensor: Tensor,
    scales: Sequence[float] | None,
    lengths: Sequence[int] | None,
    axes: Sequence[int] | None,
    mode: str,
    coordinates: str,
    rounding: str,
    coefficient: float,
    *,
    exclude_outside: bool,
) -> Tensor:
    """Resize every axis whose length or scale changes.

    Args:
        tensor: Any shape.
        scales: Output length over input length, for each of the axes.
        lengths: Output lengths, for each of the axes; they win.
        axes: None: all, in order.
        mode: `nearest`, `linear` or `cubic`.
        coordinates: How places of the output map to the input, as the specification names it.
        rounding: How `nearest` rounds.
        coefficient: The parameter a of cubic convolution (Keys 1981).
        exclude_outside: Whether weights outside of the input become 0 instead of going to the border.
    """
    chosen = [axis % tensor.ndim for axis in axes] if axes is not None else list(range(tensor.ndim))
    for position, axis in enumerate(chosen):
        length = tensor.shape[axis]
        scale = float(lengths[position]) / length if lengths else float((scales or [])[position])
        count = int(lengths[position]) if lengths else int(length * scale)
        if count == length and scale == 1.0:
            continue
        places = _source_places(count, length, scale, coordinates)
        indices, weights = _taps(places, mode, rounding, coefficient)
        if exclude_outside:
            weights = torch.where((indices < 0) | (indices >= length), 0.0, weights)
            weights = weights / weights.sum(dim=0)
        tensor = _weighed(tensor, indices.clamp(0, length - 1), weights, axis)
    return tensor


def _source_places(count: int, length: int, scale: float, coordinates: str) -> Tensor:
    """Return where each of `count` places of the output lies in the input, in float64."""
    places = torch.arange(count, dtype=torch.float64)
    if coordinates == "align_corners":
        return places * ((length - 1) / (count - 1)) if count > 1 else torch.zeros(1, dtype=torch.float64)
    if coordinates == "asymmetric":
        return places / scale
    if coordinates == "pytorch_half_pixel" and count == 1:
        return torch.zeros(1, dtype=torch.float64)
    if coordinates == "half_pixel_symmetric":
        adjustment = count / (scale * length)
        return length / 2 * (1 - adjustment) + (places + 0.5) / scale - 0.5
    if coordinates in ("half_pixel", "pytorch_half_pixel"):
        return (places + 0.5) / scale - 0.5
    raise ValueError(f"Resize has no coordinate transformation {coordinates!r}")


def _taps(places: Tensor, mode: str, rounding: str, coefficient: float) -> tuple[Tensor, Tensor]:
    """Return which inputs count at each place and how much, both (tap, place)."""
    if mode == "nearest":
        nearest = _ROUNDINGS[rounding](places)
        return nearest.long()[None], torch.ones(1, len(places), dtype=torch.float64)
    if mode not in ("linear", "cubic"):
        raise ValueError(f"Resize has no mode {mode!r}")
    floor = places.floor()
    offsets = torch.arange(0, 2) if mode == "linear" else torch.arange(-1, 3)
    indices = floor.long() + offsets[:, None]
    distance = (places - indices).abs()
    return indices, 1 - distance if mode == "linear" else _cubic(distance, coefficient)


def _cubic(distance: Tensor, a: float) -> Tensor:
    """Return the weights of cubic convolution (R. Keys, 1981, IEEE Transactions on ASSP 29, equation 15)."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance <= 1, near, far)


def _weighed(tensor: Tensor, indices: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Return the weighted sum over taps along an axis."""
    shape = [1] * tensor.ndim
    shape[axis] = indices.shape[1]
    indices = indices.to(tensor.device)
    if len(indices) == 1:
        return tensor.index_select(axis, indices[0])
    weights = weights.to(tensor.device, tensor.dtype)
    parts = [
        tensor.index_select(axis, taps) * weight.reshape(shape) for taps, weight in zip(indices, weights, strict=True)
    ]
    return torch.stack(parts).sum(dim=0)


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

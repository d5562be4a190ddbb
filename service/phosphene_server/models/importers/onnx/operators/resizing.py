"""Resize and Upsample.

The common forms are `F.interpolate`, all others an `Interpolation`.
"""

from typing import Any

import torch.nn.functional as F
from torch import fx

from phosphene_server.models.importers.onnx.operation import Numbers, Operation
from phosphene_server.models.importers.onnx.operators.interpolation import CUBIC_COEFFICIENT, Interpolation
from phosphene_server.models.importers.onnx.values import Value

LINEAR_NAMES = {3: "linear", 4: "bilinear", 5: "trilinear"}
"""Rank -> what `F.interpolate` calls interpolation along each spatial axis."""


def resize(operation: Operation) -> Value:
    """Resize: to `sizes`, or by `scales`; with scales alone before opset 11."""
    mode = operation.attribute("mode", "nearest")
    if operation.opset < 11:
        return _resized(operation, operation.numbers(1), None, Interpolation(mode, "asymmetric", "floor"))
    how = Interpolation(
        mode,
        operation.attribute("coordinate_transformation_mode", "half_pixel"),
        operation.attribute("nearest_mode", "round_prefer_floor"),
        operation.attribute("cubic_coeff_a", CUBIC_COEFFICIENT),
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
    if how.mode == "cubic" and rank == 4 and how.coefficient == CUBIC_COEFFICIENT:
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

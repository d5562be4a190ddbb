"""Pad and CenterCropPad."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.operators.windows import padding_list
from phosphene_server.models.importers.onnx.values import Value

PICTURE_MODES = {"reflect": "reflect", "edge": "replicate"}
"""What Pad calls a mode -> what `F.pad` calls it."""


def pad(operation: Operation) -> Value:
    """Pad: amounts are an attribute before opset 11, an input after; `axes` came with opset 18."""
    value = operation.data(0)
    amounts = operation.numbers(1) if operation.opset >= 11 else operation.attribute("pads")
    mode = operation.attribute("mode", "constant")
    fill = _fill(operation)
    axes = operation.known_numbers(3, "axes") if operation.opset >= 18 else None
    if isinstance(amounts, list) and axes is None and mode == "constant":
        half = len(amounts) // 2
        return operation.call(F.pad, value, padding_list(amounts[:half], amounts[half:]), "constant", fill)
    return operation.call(pad_axes, value, amounts, axes, mode, fill)


def _fill(operation: Operation) -> float:
    if operation.opset < 11:
        return float(operation.attribute("value", 0.0))
    fill: float | None = operation.number(2)
    return 0.0 if fill is None else fill


def pad_axes(tensor: Tensor, amounts: Sequence[int], axes: Sequence[int] | None, mode: str, fill: float) -> Tensor:
    """Pad chosen axes, or crop where an amount is negative.

    Args:
        tensor: Any shape.
        amounts: Elements before each of the axes, then after each of them.
        axes: None: all, in order.
        mode: `constant`, `reflect` (without the border), `edge` or `wrap`.
        fill: The value that `constant` takes.
    """
    chosen = [axis % tensor.ndim for axis in axes] if axes is not None else list(range(tensor.ndim))
    before, after = [0] * tensor.ndim, [0] * tensor.ndim
    for position, axis in enumerate(chosen):
        before[axis], after[axis] = int(amounts[position]), int(amounts[position + len(chosen)])
    if mode == "constant":
        return F.pad(tensor, padding_list(before, after), value=fill)
    if mode in PICTURE_MODES and _is_of_pictures(tensor, before, after, mode):
        return F.pad(tensor, padding_list(before[2:], after[2:]), PICTURE_MODES[mode])
    for axis in range(tensor.ndim):
        if before[axis] or after[axis]:
            length = tensor.shape[axis]
            places = torch.arange(-before[axis], length + after[axis], device=tensor.device)
            tensor = tensor.index_select(axis, _folded(places, length, mode))
    return tensor


def _is_of_pictures(tensor: Tensor, before: Sequence[int], after: Sequence[int], mode: str) -> bool:
    """Whether `F.pad` does this: it pads the spatial axes of pictures alone, and reflects them once at the most."""
    if tensor.ndim != 4 or not tensor.is_floating_point() or any((*before[:2], *after[:2])):
        return False
    limits = [length - 1 if mode == "reflect" else length for length in tensor.shape[2:]]
    return all(
        0 <= first <= limit and 0 <= last <= limit
        for first, last, limit in zip(before[2:], after[2:], limits, strict=True)
    )


def _folded(places: Tensor, length: int, mode: str) -> Tensor:
    """Fold places outside of [0, length) back into it."""
    if mode == "edge":
        return places.clamp(0, length - 1)
    if mode == "wrap":
        return places % length
    if mode == "reflect":
        period = max(2 * (length - 1), 1)
        places = places % period
        return torch.where(places < length, places, period - places)
    raise ValueError(f"Pad has no mode {mode!r}")


def center_crop_pad(operation: Operation) -> Value:
    """CenterCropPad: of an odd difference the larger half is at the end."""
    shape = operation.numbers(1)
    return operation.call(center, operation.data(0), shape, operation.attribute("axes"))


def center(tensor: Tensor, shape: Sequence[int], axes: Sequence[int] | None) -> Tensor:
    """Crop or pad with zeros, evenly at both ends, to some lengths of chosen axes (None: all, in order)."""
    before, after = [0] * tensor.ndim, [0] * tensor.ndim
    for axis, length in zip(axes or range(tensor.ndim), shape, strict=True):
        missing = int(length) - tensor.shape[axis]
        half = abs(missing) // 2
        before[axis], after[axis] = (half, missing - half) if missing >= 0 else (-half, missing + half)
    return F.pad(tensor, padding_list(before, after))

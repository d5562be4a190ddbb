"""Operators that sample a tensor between its elements: GridSample, AffineGrid, DeformConv.

Positions are differentiable: a network that looks where it wants to can be followed through where it looks.

References:
    Jaderberg et al. 2015, Spatial Transformer Networks (https://arxiv.org/abs/1506.02025).
    Dai et al. 2017, Deformable Convolutional Networks (https://arxiv.org/abs/1703.06211); with masks Zhu et al. 2018
    (https://arxiv.org/abs/1811.11168).
"""

from collections.abc import Sequence
from functools import reduce
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.operators.interpolation import CUBIC_COEFFICIENT, cubic_weight
from phosphene_server.models.importers.onnx.operators.windows import Window, window_of
from phosphene_server.models.importers.onnx.values import Value

MODES = {"bilinear": "linear", "bicubic": "cubic"}
"""Names of opset 16 -> names since opset 20."""


def grid_sample(operation: Operation) -> Value:
    """GridSample: torch's own for pictures and volumes; cubic sampling of volumes and all of other ranks are here."""
    name = operation.attribute("mode", "linear")
    mode, rank = MODES.get(name, name), operation.known_rank(0)
    padding, corners = operation.attribute("padding_mode", "zeros"), bool(operation.attribute("align_corners", 0))
    if rank == 4 or (rank == 5 and mode != "cubic"):
        own = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
        return operation.call(
            F.grid_sample, operation.data(0), operation.data(1), mode=own, padding_mode=padding, align_corners=corners
        )
    return operation.call(
        sample_positions, operation.data(0), operation.data(1), mode=mode, padding_mode=padding, align_corners=corners
    )


def sample_positions(tensor: Tensor, grid: Tensor, *, mode: str, padding_mode: str, align_corners: bool) -> Tensor:
    """Sample a tensor with any number of spatial axes.

    Args:
        tensor: (batch, channel, spatial...).
        grid: (batch, wanted spatial..., axis), where -1 and 1 are the borders; the last spatial axis comes first.
        mode: `nearest`, `linear` or `cubic`.
        padding_mode: What is outside: `zeros`, `border` or `reflection`.
        align_corners: Whether the borders are the centres of the outermost elements, else their outer edges.

    Returns:
        (batch, channel, wanted spatial...).
    """
    places = []
    for length, place in zip(tensor.shape[2:], grid.flip(-1).unbind(-1), strict=True):
        places.append((place + 1) / 2 * (length - 1) if align_corners else ((place + 1) * length - 1) / 2)
    return _sampled(tensor, places, mode, padding_mode, align_corners)


def _sampled(tensor: Tensor, places: Sequence[Tensor], mode: str, padding_mode: str, align_corners: bool) -> Tensor:
    """Sample at places that are given in elements, one tensor (batch, wanted spatial...) for each spatial axis."""
    axes = list(zip(places, tensor.shape[2:], strict=True))
    taps = [_axis_taps(place, length, mode, padding_mode, align_corners) for place, length in axes]
    batch = torch.arange(tensor.shape[0], device=tensor.device).reshape(-1, *[1] * (places[0].ndim - 1))
    last = tensor.movedim(1, -1)
    total = tensor.new_zeros(())
    for chosen in product(*taps):
        weight = reduce(torch.mul, (weight for _, weight in chosen))
        total = total + last[(batch, *(index for index, _ in chosen))] * weight.unsqueeze(-1)
    return total.movedim(-1, 1)


def _axis_taps(
    place: Tensor, length: int, mode: str, padding_mode: str, align_corners: bool
) -> list[tuple[Tensor, Tensor]]:
    """Return which elements along one axis count at each place, and how much."""
    if mode == "nearest":
        place = place.round()
    if padding_mode == "border":
        place = place.clamp(0, length - 1) if mode != "cubic" else place
    elif padding_mode == "reflection" and mode != "cubic":
        place = _reflected(place, length, align_corners)
    floor = place.floor().detach()
    share = place - floor
    if mode == "nearest":
        weights = [torch.ones_like(place)]
    else:
        weights = [1 - share, share] if mode == "linear" else _cubic_weights(share)
    first = -1 if mode == "cubic" else 0
    taps = []
    for offset, weight in enumerate(weights, start=first):
        index = floor + offset
        if padding_mode == "zeros":
            weight = weight * ((index >= 0) & (index < length))
        elif padding_mode == "reflection":
            index = _reflected(index, length, align_corners)
        taps.append((index.clamp(0, length - 1).long(), weight))
    return taps


def _reflected(place: Tensor, length: int, align_corners: bool) -> Tensor:
    """Fold places back at the borders until they are inside."""
    low, span = (0.0, float(length - 1)) if align_corners else (-0.5, float(length))
    if span == 0:
        return torch.zeros_like(place)
    folded = (place - low).abs() % (2 * span)
    return torch.where(folded > span, 2 * span - folded, folded) + low


def _cubic_weights(share: Tensor) -> list[Tensor]:
    """Return the weights of the elements at -1, 0, 1 and 2."""
    return [cubic_weight(distance, CUBIC_COEFFICIENT) for distance in (share + 1, share, 1 - share, 2 - share)]


def affine_grid(operation: Operation) -> Value:
    """AffineGrid: the positions that affine maps give the elements of a picture or a volume."""
    size, corners = operation.numbers(1), bool(operation.attribute("align_corners", 0))
    return operation.call(affine_positions, operation.data(0), size, align_corners=corners)


def affine_positions(maps: Tensor, size: Sequence[int], *, align_corners: bool) -> Tensor:
    """Return the grid of maps (batch, axes, axes + 1) over a tensor of some size (batch, channel, spatial...)."""
    return F.affine_grid(maps, [int(length) for length in size], align_corners)


def deformable_convolution(operation: Operation) -> Value:
    """DeformConv of pictures and volumes."""
    value, weight, offset, bias, mask = (operation.optional(index) for index in range(5))
    if operation.known_rank(0) not in (4, 5):
        raise operation.unsupported(f"{operation.known_rank(0) - 2} spatial axes")
    window = window_of(operation, operation.known_shape(1)[2:])
    groups, offset_groups = operation.attribute("group", 1), operation.attribute("offset_group", 1)
    arguments = (value, weight, offset, bias, mask, window)
    return operation.call(convolve_deformed, *arguments, groups=groups, offset_groups=offset_groups)


def convolve_deformed(
    tensor: Tensor,
    weight: Tensor,
    offset: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    window: Window,
    *,
    groups: int,
    offset_groups: int,
) -> Tensor:
    """Convolve with kernels each of whose elements is moved, at every place, by its own offset.

    Args:
        tensor: (batch, channel, spatial...).
        weight: (filter, channel / groups, kernel...).
        offset: (batch, offset group * kernel elements * axes, wanted spatial...), in elements of the input.
        bias: (filter,).
        mask: (batch, offset group * kernel elements, wanted spatial...), by which samples are multiplied.
        window: How the kernel slides; its padding is of zeros.
        groups: Groups of channels that filters see.
        offset_groups: Groups of channels that share offsets.

    Returns:
        (batch, filter, wanted spatial...).
    """
    batch, channels, *lengths = tensor.shape
    axes, elements, wanted = len(window.kernel), weight[0, 0].numel(), offset.shape[2:]
    places = _deformed_places(offset.reshape(batch * offset_groups, elements, axes, *wanted), window)
    sources = tensor.reshape(batch * offset_groups, channels // offset_groups, *lengths)
    # (batch * offset group, channel, kernel element, wanted spatial...); in elements, so that whole ones are exact
    samples = _sampled(sources, places, "linear", "zeros", True)
    if mask is not None:
        samples = samples * mask.reshape(batch * offset_groups, 1, elements, *wanted)
    columns = samples.reshape(batch, groups, channels // groups * elements, -1)
    rows = weight.reshape(groups, weight.shape[0] // groups, -1)
    result = torch.matmul(rows, columns).reshape(batch, weight.shape[0], *wanted)
    return result if bias is None else result + bias.reshape(-1, *[1] * axes)


def _deformed_places(moved: Tensor, window: Window) -> list[Tensor]:
    """Return where in the input the elements of the kernel lie, for each axis (batch, kernel element, spatial...).

    Args:
        moved: (batch, kernel element, axis, spatial...): how far each element is moved, at every place of the kernel.
        window: How the kernel slides.
    """
    axes, wanted = len(window.kernel), moved.shape[3:]
    places = []
    for axis in range(axes):
        own = [-1 if other == axis else 1 for other in range(axes)]
        steps = torch.arange(wanted[axis], device=moved.device) * window.stride[axis] - window.before[axis]
        inner = torch.arange(window.kernel[axis], device=moved.device) * window.dilation[axis]
        elements = inner.reshape(own).expand(*window.kernel).reshape(-1, *[1] * axes)
        places.append(elements + steps.reshape(own) + moved[:, :, axis])
    return places

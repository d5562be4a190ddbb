"""Operators that cut regions out of feature maps: RoiAlign and MaxRoiPool.

References:
    Girshick 2015, Fast R-CNN (https://arxiv.org/abs/1504.08083): MaxRoiPool.
    He et al. 2017, Mask R-CNN (https://arxiv.org/abs/1703.06870): RoiAlign.
"""

import torch
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.values import Value


def region_align(operation: Operation) -> Value:
    """RoiAlign; before opset 16 regions were not moved by half an element."""
    default = "half_pixel" if operation.opset >= 16 else "output_half_pixel"
    centred = operation.attribute("coordinate_transformation_mode", default) == "half_pixel"
    return operation.call(
        align_regions,
        operation.data(0),
        operation.data(1),
        operation.data(2),
        operation.attribute("output_height", 1),
        operation.attribute("output_width", 1),
        operation.attribute("sampling_ratio", 0),
        operation.attribute("spatial_scale", 1.0),
        centred=centred,
        largest=operation.attribute("mode", "avg") == "max",
    )


def align_regions(
    tensor: Tensor,
    regions: Tensor,
    pictures: Tensor,
    height: int,
    width: int,
    density: int,
    scale: float,
    *,
    centred: bool,
    largest: bool,
) -> Tensor:
    """Cut regions out of feature maps, each resampled to the same size; gradients reach maps and regions.

    Args:
        tensor: (batch, channel, height, width).
        regions: (region, 4): left, top, right, bottom.
        pictures: (region,): the picture of the batch that each is in.
        height: Bins along the height of each region.
        width: Bins along its width.
        density: Samples along each axis of a bin; 0: as many as the bin has elements.
        scale: Elements of the feature map per unit of the regions.
        centred: Whether elements are taken at their centres, else at their upper left corners.
        largest: Whether a bin takes the largest of its samples, else their mean.

    Returns:
        (region, channel, height, width).
    """
    corners = regions * scale - (0.5 if centred else 0.0)
    down = _axis_samples(corners[:, 1], corners[:, 3], tensor.shape[2], height, density, centred)
    across = _axis_samples(corners[:, 0], corners[:, 2], tensor.shape[3], width, density, centred)
    parts = torch.stack(_weighed_neighbours(tensor, pictures.long(), down, across))
    samples = parts.amax(0) if largest else parts.sum(0)
    counted = down.counted[:, :, None] & across.counted[:, None, :]
    bins = (len(regions), height, down.low.shape[1] // height, width, across.low.shape[1] // width, -1)
    samples, counted = samples.reshape(bins), counted.reshape(bins)  # (region, bin, sample, bin, sample, channel)
    if largest:
        return samples.masked_fill(~counted, -torch.inf).amax((2, 4)).movedim(-1, 1)
    counts = counted.sum((2, 4)).clamp(min=1)
    return ((samples * counted).sum((2, 4)) / counts).movedim(-1, 1)


class _AxisSamples:
    """Where the samples of regions lie along one axis of a feature map, all (region, bin * sample)."""

    def __init__(self, places: Tensor, counted: Tensor, length: int) -> None:
        self.counted = counted
        """Whether the region has this sample: those with fewer leave some out."""
        self.inside = (places >= -1) & (places <= length)
        """Whether the sample lies on the feature map; others are zero."""
        places = places.clamp(min=0)
        self.low = places.detach().floor().long().clamp(max=length - 1)
        self.high = (self.low + 1).clamp(max=length - 1)
        self.share = torch.where(self.low < length - 1, places - self.low, 0.0)
        """How much the higher of the two neighbours counts."""


def _weighed_neighbours(tensor: Tensor, pictures: Tensor, down: _AxisSamples, across: _AxisSamples) -> list[Tensor]:
    """Return each of the four neighbours of every sample times its weight, (region, row, column, channel)."""
    last, picture = tensor.movedim(1, -1), pictures[:, None, None]
    neighbours = []
    for row, row_weight in ((down.low, 1 - down.share), (down.high, down.share)):
        for column, column_weight in ((across.low, 1 - across.share), (across.high, across.share)):
            weight = (row_weight * down.inside)[:, :, None] * (column_weight * across.inside)[:, None, :]
            neighbours.append(last[picture, row[:, :, None], column[:, None, :]] * weight[..., None])
    return neighbours


def _axis_samples(start: Tensor, end: Tensor, length: int, bins: int, density: int, centred: bool) -> _AxisSamples:
    extent = end - start if centred else (end - start).clamp(min=1.0)
    size = extent / bins
    counts = torch.full_like(size, density) if density > 0 else size.detach().ceil()
    sample = torch.arange(max(int(counts.max()), 1), device=start.device) if len(counts) else torch.zeros(1).to(start)
    bin_index = torch.arange(bins, device=start.device)
    steps = bin_index[:, None] + (sample + 0.5) / counts.clamp(min=1)[:, None, None]  # (region, bin, sample)
    places = start[:, None, None] + steps * size[:, None, None]
    counted = (sample < counts[:, None, None]).expand_as(places)
    return _AxisSamples(places.flatten(1), counted.flatten(1), length)


def max_region_pool(operation: Operation) -> Value:
    """MaxRoiPool."""
    height, width = operation.attribute("pooled_shape")
    scale = operation.attribute("spatial_scale", 1.0)
    return operation.call(pool_regions, operation.data(0), operation.data(1), height, width, scale)


def pool_regions(tensor: Tensor, regions: Tensor, height: int, width: int, scale: float) -> Tensor:
    """Return the maxima of the bins of regions, whose borders are rounded to whole elements.

    Args:
        tensor: (batch, channel, height, width).
        regions: (region, 5): picture, left, top, right, bottom; the last two belong to the region.
        height: Bins along the height.
        width: Bins along the width.
        scale: Elements of the feature map per unit of the regions.

    Returns:
        (region, channel, height, width), 0 where a bin is outside of the feature map.
    """
    results = []
    for picture, *corners in regions.detach().tolist():
        left, top, right, bottom = (_half_away(corner * scale) for corner in corners)
        rows = _bins(top, bottom, height, tensor.shape[2], tensor)
        columns = _bins(left, right, width, tensor.shape[3], tensor)
        source = tensor[int(picture)][:, None]  # (channel, 1, height, width)
        across = source.masked_fill(~columns[:, None], -torch.inf).amax(3)  # (channel, bin, height)
        both = across[:, None].masked_fill(~rows[:, None], -torch.inf).amax(3)  # (channel, bin, bin)
        results.append(torch.where(both.isinf(), 0.0, both))
    return torch.stack(results) if results else tensor.new_zeros(0, tensor.shape[1], height, width)


def _half_away(number: float) -> int:
    """Round, halves away from zero, as C does."""
    return int(number + 0.5) if number >= 0 else -int(0.5 - number)


def _bins(first: int, last: int, bins: int, length: int, reference: Tensor) -> Tensor:
    """Return which elements of an axis each bin of a region has, (bin, element)."""
    size = max(last - first + 1, 1) / bins
    index = torch.arange(bins, dtype=torch.float64, device=reference.device)
    starts, ends = (index * size).floor() + first, ((index + 1) * size).ceil() + first
    places = torch.arange(length, device=reference.device)
    return (places >= starts[:, None]) & (places < ends[:, None])

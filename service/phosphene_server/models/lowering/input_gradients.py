"""The derivative of a convolution with respect to its input, as the convolution that it is.

- Of stride 1, it is the convolution of the gradient with the weight mirrored, its channels and filters exchanged.
- Of stride s, pixel s q + r sees the same taps of the weight at every q. So each of the remainders r is a channel of a
  convolution of stride 1, and its channels are dealt out to the pixels (a sub-pixel convolution):

      gradient ──convolution──> (s² channel, height / s, width / s) ──deal out──> (channel, height, width)

  It has more taps than the derivative, some of them 0, but where channels are few, as in a first layer, oneDNN's own
  derivative leaves most of a register empty: for 7x7, stride 2, of 3 channels it takes three times as long.

References:
    Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional Neural
    Network", https://arxiv.org/abs/1609.05158, 2016.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from phosphene_server.models.lowering.kernels import Geometry, PackedConvolution
from phosphene_server.models.lowering.winograd import Pair

FEW_CHANNELS = 8
"""Up to so many channels a sub-pixel convolution is faster: measured 1.2 to 10 times with 3 and 8, 0.7 with 16."""

InputGradient = Callable[[Tensor, Sequence[int]], Tensor]
"""Takes the gradient of the result and the shape of the input, gives the gradient of the input."""


def make_input_gradient(weight: Tensor, geometry: Geometry) -> InputGradient:
    """Return the fastest form that is exact for a convolution.

    Args:
        weight: (filter, channel / groups, height, width).
        geometry: How it slides.
    """
    if geometry.stride == (1, 1) and min(_mirrored_padding(weight, geometry)) >= 0:
        return MirroredConvolution(weight, geometry)
    square = geometry.stride[0] == geometry.stride[1]
    plain = square and geometry.dilation == (1, 1) and geometry.groups == 1
    if plain and weight.shape[1] <= FEW_CHANNELS:
        return SubPixelConvolution(weight, geometry)
    return GeneralGradient(weight, geometry)


class MirroredConvolution:
    """For stride 1: a convolution with the weight mirrored, its channels and filters exchanged within each group."""

    def __init__(self, weight: Tensor, geometry: Geometry) -> None:
        self._groups = geometry.groups
        padding = _mirrored_padding(weight, geometry)
        slide = Geometry(padding=padding, dilation=geometry.dilation, groups=geometry.groups)
        self._convolution = PackedConvolution(weight, None, slide, change=self._mirrored)

    def __call__(self, gradient: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the gradient of the input."""
        return self._convolution(gradient)

    def _mirrored(self, weight: Tensor) -> Tensor:
        groups = self._groups
        filters, channels, *kernel = weight.shape
        grouped = weight.reshape(groups, filters // groups, channels, *kernel).transpose(1, 2).flip(3, 4)
        return grouped.reshape(groups * channels, filters // groups, *kernel)


class SubPixelConvolution:
    """For a stride s and few channels: a convolution to s² remainders, which are dealt out to the pixels.

    Along an axis, output o sees pixel s o - padding + k through tap k. So pixel s q + r is seen through the taps k for
    which k - padding - r is a multiple of s, by o = q + (r + padding - k) / s.
    """

    def __init__(self, weight: Tensor, geometry: Geometry) -> None:
        self._stride = geometry.stride[0]
        self._general = GeneralGradient(weight, geometry)
        rows, columns = (
            _SeenThrough(length, self._stride, padding)
            for length, padding in zip(weight.shape[2:], geometry.padding, strict=True)
        )
        self._axes = (rows, columns)
        slide = Geometry(padding=(rows.padding, columns.padding))
        self._convolution = PackedConvolution(weight, None, slide, change=self._remainders)

    def __call__(self, gradient: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the gradient of the input."""
        batch, channels, height, width = shape
        stride = self._stride
        rows, columns = (-(-length // stride) for length in (height, width))  # of pixels of one remainder
        first_row, first_column = (axis.padding + axis.lowest for axis in self._axes)
        results = self._convolution(gradient)
        if first_row + rows > results.shape[2] or first_column + columns > results.shape[3]:
            return self._general(gradient, shape)  # there are more pixels than the last window sees
        results = results[:, :, first_row : first_row + rows, first_column : first_column + columns]
        lines = results.permute(0, 2, 3, 1).reshape(batch, rows, columns, stride, stride * channels)
        dealt = lines.transpose(2, 3).reshape(batch, stride * rows, stride * columns, channels)
        return dealt[:, :height, :width].permute(0, 3, 1, 2)

    def _remainders(self, weight: Tensor) -> Tensor:
        """Return the weight of the convolution: (row remainder * column remainder * channel, filter, row, column)."""
        filters, channels = weight.shape[:2]
        rows, columns = self._axes
        result = weight.new_zeros(self._stride, self._stride, channels, filters, rows.length, columns.length)
        for row, (row_remainder, row_shift) in enumerate(rows.taps):
            for column, (column_remainder, column_shift) in enumerate(columns.taps):
                place = result[row_remainder, column_remainder, :, :, row_shift - rows.lowest, :]
                place[..., column_shift - columns.lowest] = weight[:, :, row, column].T
        return result.flatten(0, 2)


class _SeenThrough:
    """For each tap of an axis: which remainder is seen through it, and by the output how far from q."""

    def __init__(self, taps: int, stride: int, padding: int) -> None:
        remainders = [(tap - padding) % stride for tap in range(taps)]
        self.taps = [(rest, (rest + padding - tap) // stride) for tap, rest in enumerate(remainders)]
        self.lowest = min(shift for _, shift in self.taps)
        highest = max(shift for _, shift in self.taps)
        self.length = highest - self.lowest + 1
        self.padding = max(-self.lowest, highest, 0)


class GeneralGradient:
    """For all others: torch's own derivative."""

    def __init__(self, weight: Tensor, geometry: Geometry) -> None:
        self._weight = weight
        self._geometry = geometry

    def __call__(self, gradient: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the gradient of the input, laid out as that of the result."""
        slide = self._geometry
        layout = torch.channels_last if is_channels_last(gradient) else torch.contiguous_format
        source = torch.empty(tuple(shape), dtype=gradient.dtype, device=gradient.device, memory_format=layout)
        result: Tensor = torch.ops.aten.convolution_backward(
            gradient,
            source,  # of which only the shape and the layout are read
            self._weight,
            None,
            slide.stride,
            slide.padding,
            slide.dilation,
            False,
            (0, 0),
            slide.groups,
            (True, False, False),
        )[0]
        return result


def is_channels_last(values: Tensor) -> bool:
    """Tell whether the channels of a pixel lie beside one another."""
    return values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last)


def _mirrored_padding(weight: Tensor, geometry: Geometry) -> Pair:
    reach = (spread * (length - 1) for spread, length in zip(geometry.dilation, weight.shape[2:], strict=True))
    rows, columns = (far - padding for far, padding in zip(reach, geometry.padding, strict=True))
    return rows, columns

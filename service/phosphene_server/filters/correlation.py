"""Sliding kernels over a picture, exactly where it matters and fast where it does not.

Sums are taken in float64. Three ways lead to them:

- **tap by tap**: for every number of the kernel that is not zero, the shifted picture times that number is added to the
  response.
- **by matrix product**, for many filters: the pixels under the kernel become the columns of a matrix (im2col;
  Chellapilla et al., High performance convolutional neural networks for document processing, 2006).
- **through the Fourier transform**, block by block (overlap-save; Stockham, High-speed convolution and correlation,
  1966), for large kernels.

The first two are exact where it matters: a float32 pixel times a small whole number, and sums of such products of
equal pixels, are exact in float64, in any order; so a kernel of whole numbers that sums to zero answers exactly zero
where the picture is constant. No library's convolution may stand in for them, for it may choose Winograd's algorithm or
Fourier's. The zeros of the third way are zeros up to rounding, 1e-15 of the largest sum.
"""

import itertools
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.values.kernel import Extent

# What a number of a kernel, or a transform, costs for each pixel, in nanoseconds, measured on two cores. Together they
# tell which way is fastest. Milliseconds tap by tap, by matrix and by Fourier: 3x3 on 512 px 1.4, 17 and 3.5; 9x9 10,
# 59 and 2; 31x31 73, 550 and 3; 3x3 on 2048 px 35, 204 and 110; 96 filters of 3x7x7, stride 2, on 227 px 197, 6 and 77.
_TAP = 0.5
_COLUMN = 2.0
_PRODUCT = 0.1
_TRANSFORM = 10.0

EXACTNESS = 3.0
"""How many times longer an exact way may take than the Fourier transform before that is preferred."""

_STRIP_BYTES = 64 * 2**20
"""The most memory that the columns of pixels take at once."""

_BLOCK = 1024
"""The side of a Fourier block, in pixels, unless the kernel needs a larger one: 8 MB in float64."""


def correlate(picture: Tensor, kernels: Tensor, *, stride: Extent, dilation: Extent) -> Tensor:
    """Slide kernels over a picture that has its border already; only positions where the kernel lies inside count.

    Args:
        picture: float32 (channel, height, width).
        kernels: float64 (filter, channel, height, width) on the same device.
        stride: The distance between two positions of the kernel.
        dilation: The distance between two taps of the kernel.

    Returns:
        float64 (filter, height, width).
    """
    filters, channels = kernels.shape[:2]
    kept = 1 / (stride.rows * stride.columns)
    costs = {
        _tap_by_tap: kept * _TAP * int(torch.count_nonzero(kernels)),
        _by_matrix: kept * (_COLUMN / filters + _PRODUCT) * kernels.numel(),
        _by_transform: EXACTNESS * _TRANSFORM * (channels + filters + filters * channels),
    }
    fastest = min(costs, key=costs.__getitem__)
    return fastest(picture, kernels, stride=stride, dilation=dilation)


def span(taps: int, dilation: int) -> int:
    """Return the pixels that a kernel covers along an axis, from its first tap to its last."""
    return (taps - 1) * dilation + 1


def positions(length: int, taps: int, *, stride: int, dilation: int) -> int:
    """Return how often a kernel fits along an axis of the bordered picture; 0 or less where it does not fit."""
    return (length - span(taps, dilation)) // stride + 1


def _tap_by_tap(picture: Tensor, kernels: Tensor, *, stride: Extent, dilation: Extent) -> Tensor:
    filters, _, rows, columns = kernels.shape
    height = positions(picture.shape[1], rows, stride=stride.rows, dilation=dilation.rows)
    width = positions(picture.shape[2], columns, stride=stride.columns, dilation=dilation.columns)
    response = picture.new_zeros((filters, height, width), dtype=torch.float64)
    numbers = kernels.tolist()
    # Channel outside tap: what one channel adds up to is exact before the next one comes.
    for filter_, channel, row, column in itertools.product(*map(range, kernels.shape)):
        number = numbers[filter_][channel][row][column]
        if number == 0:
            continue
        top, left = row * dilation.rows, column * dilation.columns
        shifted = picture[channel, top:, left:][:: stride.rows, :: stride.columns][:height, :width]
        response[filter_].add_(shifted, alpha=number)
    return response


def _by_matrix(picture: Tensor, kernels: Tensor, *, stride: Extent, dilation: Extent) -> Tensor:
    filters, channels, rows, columns = kernels.shape
    height = positions(picture.shape[1], rows, stride=stride.rows, dilation=dilation.rows)
    width = positions(picture.shape[2], columns, stride=stride.columns, dilation=dilation.columns)
    step = max(1, _STRIP_BYTES // (8 * channels * rows * columns * width))
    strips = []
    for first in range(0, height, step):
        last = min(first + step, height)
        bottom = (last - 1) * stride.rows + span(rows, dilation.rows)
        under = F.unfold(
            picture[None, :, first * stride.rows : bottom].double(),
            (rows, columns),
            dilation=(dilation.rows, dilation.columns),
            stride=(stride.rows, stride.columns),
        )[0]  # (channel * row * column, position)
        strips.append((kernels.flatten(1) @ under).reshape(filters, last - first, width))
    return torch.cat(strips, dim=1)


def _by_transform(picture: Tensor, kernels: Tensor, *, stride: Extent, dilation: Extent) -> Tensor:
    rows, columns = span(kernels.shape[2], dilation.rows), span(kernels.shape[3], dilation.columns)
    height, width = picture.shape[1] - rows + 1, picture.shape[2] - columns + 1
    response = picture.new_zeros(
        (kernels.shape[0], math.ceil(height / stride.rows), math.ceil(width / stride.columns)), dtype=torch.float64
    )
    side = (_block_side(picture.shape[1], rows), _block_side(picture.shape[2], columns))
    steps = (side[0] - rows + 1, side[1] - columns + 1)
    for top, left in itertools.product(range(0, height, steps[0]), range(0, width, steps[1])):
        # A block answers truly where the whole kernel lies inside it; the rest has wrapped around.
        block = picture[:, top : top + side[0], left : left + side[1]]
        answers = torch.stack(list(_block_responses(block, kernels, dilation, side=side)))
        answers = answers[:, : min(steps[0], height - top), : min(steps[1], width - left)]
        answers = answers[:, -top % stride.rows :: stride.rows, -left % stride.columns :: stride.columns]
        first_row, first_column = math.ceil(top / stride.rows), math.ceil(left / stride.columns)
        last_row, last_column = first_row + answers.shape[1], first_column + answers.shape[2]
        response[:, first_row:last_row, first_column:last_column] = answers
    return response


def _block_responses(block: Tensor, kernels: Tensor, dilation: Extent, *, side: tuple[int, int]) -> Iterator[Tensor]:
    """Yield the cyclic cross-correlation of a block, padded with zeros to `side`, with each kernel.

    Kernel by kernel, for the transforms of hundreds of filters together would not fit into memory.
    """
    spectrum = torch.fft.rfft2(block.double(), s=side)
    for kernel in kernels:
        spread = kernel.new_zeros((kernel.shape[0], *side))
        rows, columns = span(kernel.shape[1], dilation.rows), span(kernel.shape[2], dilation.columns)
        spread[:, : rows : dilation.rows, : columns : dilation.columns] = kernel
        yield torch.fft.irfft2((spectrum * torch.fft.rfft2(spread).conj()).sum(dim=0), s=side)


def _block_side(length: int, kernel: int) -> int:
    """Return the side of the blocks along an axis: the whole axis if it is short, and twice the kernel at least."""
    return min(_fast_length(length), max(_BLOCK, _fast_length(2 * kernel)))


def _fast_length(length: int) -> int:
    """Return the next length that has no prime factor above 5; others transform many times slower."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1

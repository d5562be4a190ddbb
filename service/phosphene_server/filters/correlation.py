"""Sliding kernels over a picture, exactly where it matters and fast where it does not.

Sums are taken in float64. Two ways lead to them:

- **tap by tap**: for every number of the kernel that is not zero, the shifted picture times that number is added to the
  response. A float32 pixel times a small whole number, and sums of a few such products of equal pixels, are exact in
  float64, in any order; so a kernel of whole numbers that sums to zero answers exactly zero where the picture is
  constant. No library may replace this by an algorithm that has no such property (Winograd, Fourier).
- **through the Fourier transform**, block by block (overlap-save; Stockham, High-speed convolution and correlation,
  1966), for kernels so large that the first way would be slow. Its zeros are zeros up to rounding, 1e-15 of the largest
  sum.

Measured on two cores, milliseconds tap by tap and by Fourier. One channel of 512 px: 3x3: 1.4 and 3.5; 9x9: 10 and 2;
31x31: 73 and 3; 127x127: 1200 and 3. One channel of 2048 px: 3x3: 35 and 110; 31x31: 2300 and 130. 96 filters of 3x7x7
at stride 2 on 227 px: 200 and 77.
"""

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from phosphene_server.values.kernel import Extent

PASSES_PER_TRANSFORM = 32
"""Passes over the response that are rather made than one Fourier transform, which takes as long as about 10.

More than 10, for exactness is worth some milliseconds: one kernel on one channel needs three transforms, so up to 96
taps (9x9) are added one by one.
"""

PASS_LIMIT = 20_000
"""Passes that are made at the most, some 10 microseconds each even on a small picture."""

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
    passes = int(torch.count_nonzero(kernels))
    transforms = channels + filters + filters * channels
    way = _tap_by_tap if passes <= min(PASSES_PER_TRANSFORM * transforms, PASS_LIMIT) else _by_transform
    return way(picture, kernels, stride=stride, dilation=dilation)


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

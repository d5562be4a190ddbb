"""Sliding kernels over a picture, exactly where it matters and fast where it does not.

Sums are taken in float64. Five ways lead to them:

- **tap by tap**: for every number of the kernel that is not zero, the shifted picture times that number is added to the
  response.
- **in bands**: neighbouring positions together, as a product of matrices for each row of the kernel (`banded.py`).
- **as two kernels**, a row and then a column, where the kernel is their outer product (`separable.py`).
- **by matrix product**, for many filters: the pixels under the kernel become the columns of a matrix (im2col;
  Chellapilla et al., High performance convolutional neural networks for document processing, 2006).
- **through the Fourier transform**, block by block (`fourier.py`), for large kernels.

All but the last are exact where it matters: a float32 pixel times a small whole number, and sums of such products of
equal pixels, are exact in float64, in any order; so a kernel of whole numbers (or of these over a power of two) that
sums to zero answers exactly zero where the picture is constant. No library's convolution may stand in for them, for it
may choose Winograd's algorithm or Fourier's. The zeros of the last way are zeros up to rounding, 1e-15 of the largest
sum.
Other kernels, whose sums are rounded in any case, are slid the fastest way.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.filters.banded import BAND, add_banded, bands
from phosphene_server.filters.fourier import block_steps, by_transform
from phosphene_server.filters.geometry import positions, span
from phosphene_server.filters.separable import outer_factors, whole
from phosphene_server.values.kernel import Extent

# What each part of the work costs for each pixel of the picture, in nanoseconds, on two cores with AVX-512; a stride
# divides the first six. Together they tell which way is fastest, and how much can be done between two steps.
_TAP = 0.2
_SEPARABLE_TAP = 0.3
_FEW_TAPS = 9  # up to which a kernel is never slid faster as two
_BANDED = 1.2
_BANDED_PRODUCT = 0.022
_COLUMN = 1.0
_PRODUCT = 0.03
_TRANSFORM = 5.0
_SPECTRAL_PRODUCT = 2.5

EXACTNESS = 3.0
"""How many times longer an exact way may take for a kernel of whole numbers than the Fourier transform before that is
preferred: up to 31x31 taps it takes 2.7 times as long, so these are always exact."""

_PIECE_NANOSECONDS = 5e7
"""How long a piece of the work may take, about: as long as a step of a large network."""
_PIECE_VALUES = 2**21
"""The most responses of a piece: 16 MB, so that memory is used again and again instead of a new one for all."""

_STRIP_VALUES = {"cpu": 2**17, "cuda": 2**24}
"""The sums that are taken together: 1 MB on a CPU, so that they stay in its cache while tap after tap is added."""

_COLUMN_BYTES = 16 * 2**20
"""The most memory that the columns of pixels take at once."""


@dataclass(frozen=True, eq=False)
class Correlation:
    """Kernels that are ready to be slid, in the fastest way.

    Attributes:
        kernels: float64 (filter, channel, height, width), in main memory.
        stride: The distance between two positions of the kernel.
        dilation: The distance between two taps of the kernel.
    """

    kernels: Tensor
    stride: Extent
    dilation: Extent

    def __call__(self, picture: Tensor) -> Tensor:
        """Slide the kernels over a picture that has its border; only positions where they lie inside it count.

        Args:
            picture: float32 (channel, height, width), on the device that computes.

        Returns:
            float64 (filter, height, width), on that device.
        """
        return self._fastest(picture, self.kernels, stride=self.stride, dilation=self.dilation)

    def rows_at_once(self, width: int) -> int:
        """Return how many rows of the response take no longer than a step of a maximization, and little memory.

        Args:
            width: The width of the picture with its border.
        """
        way = self._fastest
        in_time = _PIECE_NANOSECONDS / (width * self.stride.rows * self._costs[way])
        rows = min(in_time, _PIECE_VALUES * self.stride.columns / (width * len(self.kernels)))
        if way is not by_transform:
            return max(1, int(rows))
        # Whole rows of blocks, so that no block is computed for a part of what it answers.
        step = max(1, block_steps(None, self.kernels, self.dilation)[0] // self.stride.rows)
        return step * max(1, round(rows / step))

    @cached_property
    def _fastest(self) -> "Way":
        costs = dict(self._costs)
        fastest = min(costs, key=costs.__getitem__)
        if fastest is not by_transform or not whole(self.kernels.numpy()):
            return fastest
        costs[by_transform] *= EXACTNESS
        return min(costs, key=costs.__getitem__)

    @cached_property
    def _costs(self) -> "dict[Way, float]":
        """Return what each possible way costs for each pixel, in nanoseconds."""
        filters, channels, rows, columns = self.kernels.shape
        band = (BAND - 1) * self.stride.columns + span(columns, self.dilation.columns)
        taps = int(torch.count_nonzero(self.kernels))
        kept = 1 / (self.stride.rows * self.stride.columns)
        costs: dict[Way, float] = {
            tap_by_tap: kept * _TAP * taps,
            in_bands: channels * (_BANDED / self.stride.columns + kept * filters * rows * band * _BANDED_PRODUCT),
            by_matrix: kept * (_COLUMN / filters + _PRODUCT) * self.kernels.numel(),
            by_transform: (channels + filters) * _TRANSFORM + filters * channels * _SPECTRAL_PRODUCT,
        }
        if taps > _FEW_TAPS and (factors := outer_factors(self.kernels)):
            column, row = (int(torch.count_nonzero(factor)) for factor in factors)
            costs[as_two_kernels] = _SEPARABLE_TAP * (row / self.stride.columns + column * kept)
        return costs


Way = Callable[..., Tensor]
"""(picture, kernels, *, stride, dilation) -> response, as `Correlation` has it."""


def tap_by_tap(picture: Tensor, kernels: Tensor, *, stride: Extent, dilation: Extent) -> Tensor:
    """Add up the picture, shifted by each tap, times its number."""
    response = _zeros(picture, kernels, stride, dilation)
    numbers = kernels.tolist()
    for strip, pixels in _strips(picture, response, kernels.shape[2], stride=stride.rows, dilation=dilation.rows):
        _, height, width = strip.shape
        # Channel outside tap: what one channel adds up to is exact before the next one comes.
        for filter_, channel, row, column in itertools.product(*map(range, kernels.shape)):
            if number := numbers[filter_][channel][row][column]:
                top, left = row * dilation.rows, column * dilation.columns
                bottom, right = top + (height - 1) * stride.rows + 1, left + (width - 1) * stride.columns + 1
                shifted = pixels[channel, top : bottom : stride.rows, left : right : stride.columns]
                strip[filter_].add_(shifted, alpha=number)
    return response


def in_bands(picture: Tensor, kernels: Tensor, *, stride: Extent, dilation: Extent) -> Tensor:
    """Multiply the pixels under neighbouring positions with a matrix for each row of the kernels."""
    response = _zeros(picture, kernels, stride, dilation)
    matrices = bands(kernels, stride=stride.columns, dilation=dilation.columns).to(picture.device)
    for strip, pixels in _strips(picture, response, kernels.shape[2], stride=stride.rows, dilation=dilation.rows):
        add_banded(pixels, matrices, stride=(stride.rows, stride.columns), dilation=dilation.rows, out=strip)
    return response


def as_two_kernels(picture: Tensor, kernels: Tensor, *, stride: Extent, dilation: Extent) -> Tensor:
    """Slide one kernel that is the outer product of a column and a row: first the row, then the column."""
    factors = outer_factors(kernels)
    assert factors is not None, "the kernel is no outer product"
    column, row = (factor.tolist() for factor in factors)
    response = _zeros(picture, kernels, stride, dilation)
    for strip, pixels in _strips(picture, response, len(column), stride=stride.rows, dilation=dilation.rows):
        _, height, width = strip.shape
        across = pixels.new_zeros((pixels.shape[1], width))
        for index, number in enumerate(row):
            if number:
                across.add_(pixels[0, :, index * dilation.columns :][:, :: stride.columns][:, :width], alpha=number)
        for index, number in enumerate(column):
            if number:
                strip[0].add_(across[index * dilation.rows :][:: stride.rows][:height], alpha=number)
    return response


def by_matrix(picture: Tensor, kernels: Tensor, *, stride: Extent, dilation: Extent) -> Tensor:
    """Multiply the kernels with the pixels that lie under them at each position."""
    filters, channels, rows, columns = kernels.shape
    height = positions(picture.shape[1], rows, stride=stride.rows, dilation=dilation.rows)
    width = positions(picture.shape[2], columns, stride=stride.columns, dilation=dilation.columns)
    step = max(1, _COLUMN_BYTES // (8 * channels * rows * columns * width))
    matrix = kernels.flatten(1).to(picture.device)
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
        strips.append((matrix @ under).reshape(filters, last - first, width))
    return torch.cat(strips, dim=1)


def _zeros(picture: Tensor, kernels: Tensor, stride: Extent, dilation: Extent) -> Tensor:
    """Return a response in which nothing has been added up yet."""
    filters, _, rows, columns = kernels.shape
    height = positions(picture.shape[1], rows, stride=stride.rows, dilation=dilation.rows)
    width = positions(picture.shape[2], columns, stride=stride.columns, dilation=dilation.columns)
    return picture.new_zeros((filters, height, width), dtype=torch.float64)


def _strips(
    picture: Tensor, response: Tensor, taps: int, *, stride: int, dilation: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a few rows of the response and the rows of the picture that they read, in float64, until all are there."""
    _, height, width = response.shape
    step = max(1, _STRIP_VALUES[picture.device.type] // width)
    for first in range(0, height, step):
        last = min(first + step, height)
        read = picture[:, first * stride : (last - 1) * stride + span(taps, dilation)]
        yield response[:, first:last], read.double()

"""3x3 convolutions with a quarter of the multiplications, by Winograd's algorithm F(4x4, 3x3).

A tile of 6x6 pixels gives 4x4 results. Transformed by `INPUT`, it is multiplied point by point with the transformed
weight, which sums over the channels, and `OUTPUT` makes results of the products:

    (tile, 36, channel) ──INPUT──> ──times (36, channel, filter)──> (tile, 36, filter) ──OUTPUT──> (tile, 16, filter)

That is 36 multiplications in place of 144 for each channel and filter, as 36 products of matrices: to oneDNN these are
a convolution of one pixel in 36 groups. The transforms, the copies around them and the larger weight cost something, so
it pays where there are many channels, filters and pixels: see `pays`.

The trap is the number of tiles in a product. oneDNN arranges the weight for it, and where it meets another number, it
may arrange the weight anew at every call, which takes far longer than the product. So tiles are computed in blocks of
few sizes, and for each size there is an arranged weight.

The sums are taken in another order, of numbers that are up to some dozen times as large, so results are as far from
exact ones as 1e-5 of the largest result, where those of a direct convolution in float32 are as far as 1e-6.

References:
    Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", https://arxiv.org/abs/1509.09308, 2015.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]
"""Along rows and along columns."""

TILE = 4
"""Results along each axis of a tile."""

WEIGHTS = 4
"""How many times the memory of a weight its arranged form takes: 36 numbers for 9."""

LARGE = (256, 256)
"""A size of pictures for which `pays` is true if it is for any."""

_INPUT_AXIS = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_WEIGHT_AXIS = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUT_AXIS = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
"""What the algorithm makes of the points 0, 1, -1, 2, -2 and infinity; see section 4.3 of the paper."""

_EVERYWHERE = 7
"""The product that every result of a tile contains once: there a bias is added. (Row 1, column 1 of 6x6.)"""

TILES_AT_ONCE = 98
"""About so many tiles are computed at once, if there are: fewer read the weight too often, the numbers of more do not
stay in the cache."""

_TRANSFORMING = 3
"""How many multiplications of the products take as long as one of a transform, with its share of the copies."""
_READING = 15
"""How many multiplications take as long as reading a number of the weight, which the layers between have driven out of
the cache."""
_WORTHWHILE = 1.2
"""`pays` asks for this gain by its own model. All three are fitted to what GoogLeNet, VGG-11 and ResNet-18 took as a
whole on a processor with AVX-512, not to convolutions alone, whose weights and tiles stay in the cache."""


class WinogradConvolution:
    """A convolution of 3x3 taps, stride 1, not dilated, in one group, in float32, for one size of its input."""

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: Pair, size: Pair) -> None:
        """Take a weight; arranged for a size of blocks it takes four times its memory.

        Args:
            weight: (filter, channel, 3, 3).
            bias: (filter,)
            padding: Zeros before the first and behind the last row and column, 0 to 2.
            size: The height and width of the input.
        """
        self._weight = weight
        self._padding = padding
        self._size = _result_size(size, padding)
        self._rows, self._columns = (-(-length // TILE) for length in self._size)
        tiles = self._rows * self._columns
        self._bands = -(-tiles // TILES_AT_ONCE)
        self._band = -(-self._rows // self._bands)
        # A power of two, as numbers of lanes are: few pictures are left over.
        self._together = 2 ** (max(1, TILES_AT_ONCE // tiles).bit_length() - 1)
        self._everywhere: Tensor | None = None
        if bias is not None:
            self._everywhere = F.pad(bias[None], (0, 0, _EVERYWHERE, 35 - _EVERYWHERE)).flatten()
        self._products: dict[int, _Products] = {}
        self._input, self._output = (
            torch.kron(matrix, matrix)[None]
            for matrix in (torch.tensor(_INPUT_AXIS).float(), torch.tensor(_OUTPUT_AXIS).float())
        )

    def __call__(self, values: Tensor, *, rectified: bool = False) -> Tensor:
        """Convolve (batch, channel, height, width), with max(0, ·) of the result where it is rectified.

        The result is laid out in `torch.channels_last`.
        """
        height, width = self._size
        filters = len(self._weight)
        result = values.new_empty(len(values), self._rows * TILE, self._columns * TILE, filters)
        source = values.permute(0, 2, 3, 1)
        for pictures, first in self._blocks(len(values)):
            place = result[pictures, first * TILE : (first + self._band) * TILE]
            self._convolve(self._tiles(source[pictures], first), place, rectified=rectified)
        return result[:, :height, :width].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def _blocks(self, count: int) -> Iterator[tuple[slice, int]]:
        """Yield the pictures and the first row of tiles of each block.

        Large pictures are cut into bands of equal height, of which the last may overlap the one before; of small ones
        several make a block, and those that are left over make one each.
        """
        first = 0
        while first < count:
            together = self._together if self._together <= count - first else 1
            for band in range(self._bands):
                yield slice(first, first + together), min(band * self._band, self._rows - self._band)
            first += together

    def _tiles(self, source: Tensor, first: int) -> Tensor:
        """Return the tiles of a band of (batch, row, column, channel), zeros around it.

        They overlap by two pixels: (batch, tile row, tile column, row, column, channel).
        """
        count, height, width, channels = source.shape
        above, left = self._padding
        start, end = first * TILE - above, (first + self._band) * TILE - above + 2
        inside = source[:, max(start, 0) : min(end, height)]
        edges = (left, self._columns * TILE + 2 - left - width, max(-start, 0), max(end - height, 0))
        padded = F.pad(inside, (0, 0, *edges))
        picture, line, pixel, _ = padded.stride()
        shape = (count, self._band, self._columns, TILE + 2, TILE + 2, channels)
        return padded.as_strided(shape, (picture, TILE * line, TILE * pixel, line, pixel, 1)).contiguous()

    def _convolve(self, tiles: Tensor, place: Tensor, *, rectified: bool) -> None:
        """Write what tiles give to `place`, (batch, row, column, filter)."""
        pictures, rows, columns, *_, channels = tiles.shape
        number = pictures * rows * columns
        transformed = torch.bmm(self._input.expand(number, -1, -1), tiles.view(number, 36, channels))
        products = self._products.get(number) or self._arrange(number)
        values = torch.bmm(self._output.expand(number, -1, -1), products(transformed))
        ordered = values.view(pictures, rows, columns, TILE, TILE, -1).transpose(2, 3)
        place = place.view(pictures, rows, TILE, columns, TILE, -1)
        if rectified:
            torch.clamp_min(ordered, 0, out=place)
        else:
            place.copy_(ordered)

    def _arrange(self, tiles: int) -> "_Products":
        axis = torch.tensor(_WEIGHT_AXIS, dtype=torch.float64)
        taps = torch.einsum("ik,fckl,jl->ijfc", axis, self._weight.double(), axis).float()
        self._products[tiles] = _Products(taps.flatten(0, 1), self._everywhere, tiles)
        return self._products[tiles]


class _Products:
    """36 products of matrices, with a weight that is arranged for a number of tiles."""

    def __init__(self, taps: Tensor, bias: Tensor | None, tiles: int) -> None:
        """Take (36, filter, channel), and (36 * filter,), which is added."""
        filters, channels = taps.shape[1:]
        self._shape = (1, tiles, 1, 36 * channels)
        self._filters = filters
        slide: list[Any] = [[0, 0], [1, 1], [1, 1], 36]
        weight = taps.reshape(36 * filters, channels, 1, 1)
        packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *slide, [1, 36 * channels, tiles, 1])
        self._arguments = (packed, bias, *slide, "none", [], "")
        self._convolve = torch.ops.mkldnn._convolution_pointwise.default

    def __call__(self, transformed: Tensor) -> Tensor:
        """Return (tile, 36, filter) of (tile, 36, channel)."""
        result: Tensor = self._convolve(transformed.view(self._shape).permute(0, 3, 1, 2), *self._arguments)
        return result.permute(0, 2, 3, 1).view(-1, 36, self._filters)


def _result_size(size: Pair, padding: Pair) -> Pair:
    height, width = (length + 2 * zeros - 2 for length, zeros in zip(size, padding, strict=True))
    return height, width


def can_use_winograd(weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> bool:
    """Tell whether a convolution is of the kind that `WinogradConvolution` computes."""
    plain = (*stride, *dilation, groups) == (1, 1, 1, 1, 1)
    return plain and weight.dtype == torch.float32 and weight.shape[2:] == (3, 3) and max(padding) <= 2


def pays(filters: int, channels: int, size: Pair, padding: Pair) -> bool:
    """Tell whether it is faster than a direct convolution of a picture of this height and width.

    It is a rule, not a measurement on the spot, so that equal requests give equal pictures on a machine. Nor does it
    ask for the number of pictures, so that a picture is computed in the same way alone and in company.
    """
    height, width = _result_size(size, padding)
    tiles = -(-height // TILE) * -(-width // TILE)
    weights = filters * channels
    direct = 9 * weights * (height * width + _READING)
    transforms = 36 * 36 * channels + 16 * 36 * filters
    return direct > _WORTHWHILE * (36 * weights * (tiles + _READING) + _TRANSFORMING * tiles * transforms)

"""3x3 convolutions with a quarter of the multiplications, by Winograd's algorithm F(4x4, 3x3).

A tile of 6x6 pixels gives 4x4 results. Transformed by `INPUT`, it is multiplied point by point with the transformed
weight, which sums over the channels, and `OUTPUT` makes results of the products:

    (36, tile, channel) ──INPUT──> ──times (36, channel, filter)──> (36, tile, filter) ──OUTPUT──> (16, tile, filter)

That is 36 multiplications in place of 144 for each channel and filter, as 36 products of matrices. The transforms, the
copies around them and the larger weight cost something, so it pays where there are many channels, filters and pixels:
from the third block of a VGG on, for example, but not in the later layers of a ResNet (see `pays`).

The sums are taken in another order, of numbers that are up to some dozen times as large, so results are as far from
exact ones as 1e-5 of the largest result, where those of a direct convolution in float32 are as far as 1e-6.

References:
    Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks", https://arxiv.org/abs/1509.09308, 2015.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]
"""Along rows and along columns."""

TILE = 4
"""Results along each axis of a tile."""

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
"""So many tiles are computed at once, if there are: fewer read the weight too often, the numbers of more do not stay in
the cache. Forward and backward through GoogLeNet with 4 pictures took 0.93 of the time without this file with 98, 0.94
with 196, 0.96 with 56 and 1.02 with 28."""

_TRANSFORMING = 5
"""How many multiplications of the products take as long as one of a transform, with its share of the copies."""
_READING = 60
"""How many multiplications take as long as reading a number of the weight, which the layers between have driven out of
the cache."""
_WORTHWHILE = 1.1
"""`pays` asks for this gain by its own model. All three are fitted to what GoogLeNet, VGG-11 and ResNets took as a
whole on a processor with AVX-512, not to convolutions alone, whose weights and tiles stay in the cache."""


class WinogradConvolution:
    """A convolution of 3x3 taps, stride 1, not dilated, in one group, in float32 on the CPU."""

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: Pair) -> None:
        """Transform a weight, which takes four times its memory.

        Args:
            weight: (filter, channel, 3, 3).
            bias: (filter,)
            padding: Zeros before the first and behind the last row and column, 0 to 2.
        """
        axis = torch.tensor(_WEIGHT_AXIS, dtype=torch.float64)
        filters, channels = weight.shape[:2]
        taps = torch.einsum("ik,fckl,jl->ijcf", axis, weight.double(), axis)
        self._taps = taps.reshape(36, channels, filters).float()
        self._bias = bias
        self._padding = padding
        self._input, self._output = (
            torch.kron(matrix, matrix)
            for matrix in (torch.tensor(_INPUT_AXIS).float(), torch.tensor(_OUTPUT_AXIS).float())
        )

    def __call__(self, values: Tensor, *, rectified: bool = False) -> Tensor:
        """Convolve (batch, channel, height, width), with max(0, ·) of the result where it is rectified.

        The result is laid out in `torch.channels_last`.
        """
        count, _, *size = values.shape
        height, width = (length + 2 * zeros - 2 for length, zeros in zip(size, self._padding, strict=True))
        rows, columns = -(-height // TILE), -(-width // TILE)
        result = values.new_empty(count, rows * TILE, columns * TILE, self._taps.shape[2])
        source = values.permute(0, 2, 3, 1)
        for pictures, first, last in _parts(count, rows, columns):
            tiles = self._tiles(source[pictures], first, last, columns)
            self._convolve(tiles, result[pictures, first * TILE : last * TILE], rectified=rectified)
        return result[:, :height, :width].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def _tiles(self, source: Tensor, first: int, last: int, columns: int) -> Tensor:
        """Return the tiles of some rows of (batch, row, column, channel), zeros around it.

        They overlap by two pixels: (tile row, tile column, batch, row, column, channel).
        """
        count, height, width, channels = source.shape
        above, left = self._padding
        start, end = first * TILE - above, last * TILE - above + 2
        inside = source[:, max(start, 0) : min(end, height)]
        edges = (left, columns * TILE + 2 - left - width, max(-start, 0), max(end - height, 0))
        padded = F.pad(inside, (0, 0, *edges))
        picture, line, pixel, _ = padded.stride()
        shape = (TILE + 2, TILE + 2, count, last - first, columns, channels)
        return padded.as_strided(shape, (line, pixel, picture, TILE * line, TILE * pixel, 1)).contiguous()

    def _convolve(self, tiles: Tensor, result: Tensor, *, rectified: bool) -> None:
        """Write what tiles give to `result`, (batch, row, column, filter)."""
        *_, count, rows, columns, channels = tiles.shape
        number, filters = count * rows * columns, result.shape[3]
        transformed = torch.mm(self._input, tiles.view(36, number * channels))
        products = torch.bmm(transformed.view(36, number, channels), self._taps)
        if self._bias is not None:
            products[_EVERYWHERE].add_(self._bias)
        values = torch.mm(self._output, products.view(36, number * filters))
        ordered = values.view(TILE, TILE, count, rows, columns, filters).permute(2, 3, 0, 4, 1, 5)
        place = result.view(count, rows, TILE, columns, TILE, filters)
        if rectified:
            torch.clamp_min(ordered, 0, out=place)
        else:
            place.copy_(ordered)


def _parts(count: int, rows: int, columns: int) -> Iterator[tuple[slice, int, int]]:
    """Yield pictures and their first and last row of tiles, in parts of about `TILES_AT_ONCE`."""
    pictures, band = max(1, TILES_AT_ONCE // (rows * columns)), max(1, TILES_AT_ONCE // columns)
    for picture in range(0, count, pictures):
        for first in range(0, rows, band):
            yield slice(picture, picture + pictures), first, min(first + band, rows)


def can_use_winograd(weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> bool:
    """Tell whether a convolution is of the kind that `WinogradConvolution` computes."""
    plain = (*stride, *dilation, groups) == (1, 1, 1, 1, 1)
    return plain and weight.dtype == torch.float32 and weight.shape[2:] == (3, 3) and max(padding) <= 2


def pays(filters: int, channels: int, height: int, width: int) -> bool:
    """Tell whether it is faster than a direct convolution, whose result is `height` by `width`, of one picture.

    It is a rule, not a measurement on the spot, so that equal requests give equal pictures on a machine. Nor does it
    ask for the number of pictures, so that a picture is computed in the same way alone and in company.
    """
    tiles = -(-height // TILE) * -(-width // TILE)
    weights = filters * channels
    direct = 9 * weights * (height * width + _READING)
    transforms = 36 * 36 * channels + 16 * 36 * filters
    return direct > _WORTHWHILE * (36 * weights * (tiles + _READING) + _TRANSFORMING * tiles * transforms)

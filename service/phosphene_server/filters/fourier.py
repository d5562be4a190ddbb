"""Cross-correlation through the Fourier transform, block by block.

References:
    Stockham, High-speed convolution and correlation, 1966 (overlap-save).
"""

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from phosphene_server.filters.geometry import span
from phosphene_server.values.kernel import Extent

# Nanoseconds per pixel of a 31x31 kernel on 6 megapixels, two cores, by side of the block: 128: 9; 256: 7.5; 512: 11;
# 1024: 16-23. Of 256 the block and its spectrum fit into the cache of a core; four of them keep two cores busy.
_SIDE = 256
"""The side of a block, in pixels, for kernels up to a quarter of it."""
_LARGER_SIDE = 1024
"""The side of a block up to which it is four times as long as the kernel; beyond, it is twice as long."""
_BLOCKS = 4
"""The most blocks that are transformed at once."""
_SPECTRA_BYTES = 64 * 2**20
"""The most memory that the spectra of a picture take at once, beyond those of one block."""

Corner = tuple[int, int]
"""Where a block begins on the picture: row, column."""


def by_transform(picture: Tensor, kernels: Tensor, *, stride: Extent, dilation: Extent) -> Tensor:
    """Slide kernels over a picture that has its border; only positions where they lie inside it count.

    Args:
        picture: float32 (channel, height, width).
        kernels: float64 (filter, channel, height, width), in main memory.
        stride: The distance between two positions of the kernel; what lies between them is computed all the same.
        dilation: The distance between two taps of the kernel.

    Returns:
        float64 (filter, height, width).
    """
    rows, columns = _spans(kernels, dilation)
    height, width = picture.shape[1] - rows + 1, picture.shape[2] - columns + 1
    response = picture.new_empty(
        (kernels.shape[0], math.ceil(height / stride.rows), math.ceil(width / stride.columns)), dtype=torch.float64
    )
    steps = block_steps(picture, kernels, dilation)
    side = (steps[0] + rows - 1, steps[1] + columns - 1)
    corners = list(itertools.product(range(0, height, steps[0]), range(0, width, steps[1])))
    together = max(1, _SPECTRA_BYTES // (8 * picture.shape[0] * side[0] * side[1]))
    for first in range(0, len(corners), together):
        some = corners[first : first + together]
        for filter_, answer, (top, left) in _block_answers(picture, kernels, dilation, some, side):
            # A block answers truly where the whole kernel lies inside it; the rest has wrapped around.
            true = answer[: min(steps[0], height - top), : min(steps[1], width - left)]
            true = true[-top % stride.rows :: stride.rows, -left % stride.columns :: stride.columns]
            row, column = math.ceil(top / stride.rows), math.ceil(left / stride.columns)
            response[filter_, row : row + true.shape[0], column : column + true.shape[1]] = true
    return response


def block_steps(picture: Tensor | None, kernels: Tensor, dilation: Extent) -> tuple[int, int]:
    """Return how many positions of the kernels a block answers, along each axis.

    Args:
        picture: The picture; None: one that is larger than a block.
        kernels: (filter, channel, height, width).
        dilation: The distance between two taps of the kernel.
    """
    lengths = (None, None) if picture is None else picture.shape[1:]
    rows, columns = (
        _block_side(length, spanned) - spanned + 1
        for length, spanned in zip(lengths, _spans(kernels, dilation), strict=True)
    )
    return rows, columns


def _spans(kernels: Tensor, dilation: Extent) -> tuple[int, int]:
    return span(kernels.shape[2], dilation.rows), span(kernels.shape[3], dilation.columns)


def _spectra(picture: Tensor, corners: list[Corner], side: tuple[int, int]) -> Tensor:
    """Return the spectra of some blocks, padded with zeros to `side`: (block, channel, row, column)."""
    blocks = picture.new_zeros((len(corners), picture.shape[0], *side), dtype=torch.float64)
    for block, (top, left) in zip(blocks, corners, strict=True):
        pixels = picture[:, top : top + side[0], left : left + side[1]]
        block[:, : pixels.shape[1], : pixels.shape[2]] = pixels
    spectra: Tensor = torch.fft.rfft2(blocks)
    return spectra


def _block_answers(
    picture: Tensor, kernels: Tensor, dilation: Extent, corners: list[Corner], side: tuple[int, int]
) -> Iterator[tuple[int, Tensor, Corner]]:
    """Yield for each filter the cyclic cross-correlation of each block with it, (height, width)."""
    batches = [corners[first : first + _BLOCKS] for first in range(0, len(corners), _BLOCKS)]
    spectra = [_spectra(picture, batch, side) for batch in batches]
    # Kernel by kernel: spread over a block, hundreds of them together would not fit into memory.
    for filter_, kernel in enumerate(kernels):
        spectrum = _kernel_spectrum(kernel.to(picture.device), dilation, side)
        for batch, blocks in zip(batches, spectra, strict=True):
            answers = torch.fft.irfft2((blocks * spectrum).sum(dim=1), s=side)
            yield from zip(itertools.repeat(filter_), answers, batch)


def _kernel_spectrum(kernel: Tensor, dilation: Extent, side: tuple[int, int]) -> Tensor:
    """Return the conjugate spectrum of a kernel at the corner of a block, (channel, row, column)."""
    spread = kernel.new_zeros((kernel.shape[0], *side))
    rows, columns = span(kernel.shape[1], dilation.rows), span(kernel.shape[2], dilation.columns)
    spread[:, : rows : dilation.rows, : columns : dilation.columns] = kernel
    spectrum: Tensor = torch.fft.rfft2(spread)
    return spectrum.conj().resolve_conj()


def _block_side(length: int | None, spanned: int) -> int:
    """Return the side of the blocks along an axis: the whole axis if it is short, and twice the kernel at least."""
    wanted = max(_SIDE, min(4 * spanned, _LARGER_SIDE), 2 * spanned)
    # One block of half as much again takes less than two.
    return _fast_length(wanted if length is None or length > 1.5 * wanted else length)


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

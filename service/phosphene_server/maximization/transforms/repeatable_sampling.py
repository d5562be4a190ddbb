"""`grid_sample` whose gradient is the same at every run, also on a GPU.

Backward, many pixels of the result add to one pixel of the picture. CUDA lets its threads add in any order, and sums of
floating-point numbers depend on the order, so the same request would give other bytes. Sums of integers do not: here
the gradient is rounded to fixed-point numbers, far finer than float32 is at the size of the largest, and added as such.
Their step is a power of two: in float32 a number is then rounded to it exactly, and no double precision is needed.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Padding = Literal["reflection", "zeros"]

FIXED_POINT_BITS = 36
"""Between zero and the largest gradient of a picture lie 2 ** 35 to 2 ** 36 steps; an int64 holds the sum of 2 ** 26 of
the largest."""

SMALLEST_EXPONENT = -90
"""Of the largest gradient of a picture, so that two to the power of the step is a number in float32."""


class RepeatableGridSample(torch.autograd.Function):
    """Bilinear `grid_sample` with align_corners=False; no gradient reaches the grid."""

    @staticmethod
    def forward(ctx: Any, pictures: Tensor, grid: Tensor, padding: Padding) -> Tensor:
        """Draw pictures (batch, channel, height, width) at the positions of a grid (batch, height, width, 2)."""
        ctx.save_for_backward(grid)
        ctx.shape, ctx.padding = pictures.shape, padding
        return F.grid_sample(pictures, grid, mode="bilinear", padding_mode=padding, align_corners=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the pictures."""
        (grid,) = ctx.saved_tensors
        return adjoint(gradients[0], grid, shape=ctx.shape, padding=ctx.padding), None, None


def adjoint(gradient: Tensor, grid: Tensor, *, shape: torch.Size, padding: Padding) -> Tensor:
    """Add each value of a result to the pixels that it was drawn from, by their weights.

    Args:
        gradient: (batch, channel, result height, result width).
        grid: (batch, result height, result width, 2), columns before rows, in [-1, 1] inside of the picture.
        shape: (batch, channel, height, width) of the picture.
        padding: What stands beyond the border: the mirrored picture, or nothing.
    """
    batch, channels, height, width = shape
    columns, column_weights = _neighbours(grid[..., 0], width, padding)
    rows, row_weights = _neighbours(grid[..., 1], height, padding)
    largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    exponent = torch.frexp(largest).exponent.clamp(min=SMALLEST_EXPONENT).to(gradient.dtype)  # largest < 2 ** exponent
    scaled = gradient * torch.exp2(-exponent) * 2.0**FIXED_POINT_BITS
    total = torch.zeros(batch, channels, height * width, dtype=torch.int64, device=gradient.device)
    for row, row_weight in zip(rows, row_weights, strict=True):
        for column, column_weight in zip(columns, column_weights, strict=True):
            places = (row * width + column).flatten(1)[:, None].expand(-1, channels, -1)
            part = scaled * (row_weight * column_weight)[:, None]
            total.scatter_add_(2, places, part.round_().long().flatten(2))
    step = torch.exp2(exponent - FIXED_POINT_BITS) + 0 * largest  # no number where the gradient is none
    return total.reshape(shape).to(gradient.dtype) * step


def _neighbours(position: Tensor, length: int, padding: Padding) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the two pixels around each position along one axis, and their weights."""
    pixel = ((position + 1) * length - 1) / 2
    if padding == "reflection":  # about the outer edges of the first and last pixel
        folded = (pixel + 0.5).abs() % (2 * length)
        pixel = (torch.where(folded > length, 2 * length - folded, folded) - 0.5).clamp(0, length - 1)
    low = pixel.floor()
    share = pixel - low
    pixels, weights = (low, low + 1), (1 - share, share)
    inside = [(place >= 0) & (place < length) for place in pixels]
    first, second = (place.clamp(0, length - 1).long() for place in pixels)
    return (first, second), (weights[0] * inside[0], weights[1] * inside[1])

"""Entries of an activation, each picture its own."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def select(activation: Tensor, indices: Tensor) -> Tensor:
    """Return of each picture the entry at its own indices.

    Torch's own indexing is as exact. But its gradient is laid out in another memory format than an activation of
    `torch.channels_last`, so that all operations before would rearrange theirs; and on CUDA it sorts indices, which may
    be equal as far as it knows.

    Args:
        activation: (batch, ...).
        indices: Along the first axes behind the batch, of any number type, (batch, n).

    Returns:
        (batch, ...), without the first n axes of the activation behind the batch.
    """
    selected: Tensor = _Selection.apply(activation, indices.long())
    return selected


class _Selection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activation: Tensor, indices: Tensor) -> Tensor:
        """Look up."""
        ctx.places = (torch.arange(len(indices), device=indices.device), *indices.unbind(dim=1))
        ctx.save_for_backward(activation)
        selected: Tensor = activation[ctx.places]
        return selected

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Put the gradient where the entries were, and 0 elsewhere."""
        (activation,) = ctx.saved_tensors
        whole = torch.zeros_like(activation)
        whole[ctx.places] = gradient
        return whole, None

"""Adam, for many pictures at once, each with its own rate and its own count of steps."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.values.maximization import AdamOptimizer

EPSILON = 1e-8


@dataclass(frozen=True)
class Moments:
    """What Adam remembers: running means of the gradient and of its square, both shaped as the parameters."""

    mean: Tensor
    square: Tensor


def coefficients(optimizer: AdamOptimizer, *, first_step: int, count: int) -> NDArray[np.float64]:
    """Return what `ascend` needs for a number of steps, (count, 4).

    They are beta1, beta2, the step size with the correction of the first moment, and the root of the correction of the
    second. Computed ahead in float64, so that a step sends no number to the device.

    Args:
        optimizer: The settings.
        first_step: The number of steps done before the first of these.
        count: The number of steps.
    """
    steps = np.arange(first_step + 1, first_step + count + 1, dtype=np.float64)
    size = optimizer.learning_rate / (1 - optimizer.beta1**steps)
    root = np.sqrt(1 - optimizer.beta2**steps)
    betas = np.broadcast_to([optimizer.beta1, optimizer.beta2], (count, 2))
    return np.column_stack([betas, size, root])


def ascend(parameters: Tensor, gradient: Tensor, moments: Moments, rows: Tensor) -> tuple[Tensor, Moments]:
    """Move each picture one step up its gradient.

    A picture whose gradient is not finite stays where it is, and so do its moments: one bad step would spoil all later
    ones.

    Args:
        parameters: (batch, ...).
        gradient: Of the same shape: that of what is maximised.
        moments: What was remembered so far.
        rows: (batch, 4), of each picture the row of `coefficients` for this step.

    References:
        Kingma and Ba, "Adam: a method for stochastic optimization", https://arxiv.org/abs/1412.6980, 2015.
    """
    beta1, beta2, size, root = (column.reshape(-1, *[1] * (gradient.dim() - 1)) for column in rows.unbind(dim=1))
    mean = torch.lerp(gradient, moments.mean, beta1)
    square = torch.lerp(gradient.square(), moments.square, beta2)
    moved = parameters + size * mean / (square.sqrt() / root + EPSILON)
    finite = moved.isfinite().flatten(1).all(dim=1).reshape(beta1.shape) & square.isfinite().flatten(1).all(
        dim=1
    ).reshape(beta1.shape)
    kept = Moments(torch.where(finite, mean, moments.mean), torch.where(finite, square, moments.square))
    return torch.where(finite, moved, parameters), kept

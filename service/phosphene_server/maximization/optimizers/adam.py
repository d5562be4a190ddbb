"""Adam, for many pictures at once, each with its own rate and its own count of steps."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.maximization.optimizers.optimizer import Memory, Optimizer

EPSILON = 1e-8


def adam(*, learning_rate: float, beta1: float, beta2: float) -> Optimizer:
    """Return Adam: steps of about the learning rate, whatever the size of the gradient.

    Args:
        learning_rate: The length of a step along each parameter.
        beta1: How slowly the running mean of the gradient forgets, in [0, 1).
        beta2: How slowly that of its square does, in [0, 1).

    References:
        Kingma and Ba, "Adam: a method for stochastic optimization", https://arxiv.org/abs/1412.6980, 2015.
    """

    def numbers(done: int, count: int) -> NDArray[np.float64]:
        """Return beta1, beta2, the step with the first correction, and the root of the second, for each step."""
        steps = np.arange(done + 1, done + count + 1, dtype=np.float64)
        size = learning_rate / (1 - beta1**steps)
        root = np.sqrt(1 - beta2**steps)
        return np.column_stack([np.broadcast_to([beta1, beta2], (count, 2)), size, root])

    return Optimizer("adam", _start, numbers, _move)


def _start(parameters: Tensor) -> Memory:
    return {"mean": torch.zeros_like(parameters), "square": torch.zeros_like(parameters)}


def _move(parameters: Tensor, gradient: Tensor, memory: Memory, numbers: Tensor) -> tuple[Tensor, Memory]:
    beta1, beta2, size, root = (column.reshape(-1, *[1] * (gradient.dim() - 1)) for column in numbers.unbind(dim=1))
    mean = torch.lerp(gradient, memory["mean"], beta1)
    square = torch.lerp(gradient.square(), memory["square"], beta2)
    length = square.sqrt().div_(root).add_(EPSILON)
    return torch.addcmul(parameters, size, mean / length), {"mean": mean, "square": square}

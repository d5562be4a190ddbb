"""Random numbers of one picture each, shaped so that they broadcast over its pixels."""

import torch
from torch import Tensor


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """One number in [low, high) per picture: float32 of shape (picture, 1, 1)."""
    return low + (high - low) * torch.rand(count, 1, 1, generator=generator)


def whole(count: int, low: int, high: int, generator: torch.Generator) -> Tensor:
    """One whole number in low..high, both included, per picture: float32 of shape (picture, 1, 1)."""
    return torch.randint(low, high + 1, (count, 1, 1), generator=generator).float()


def chance(count: int, probability: float, generator: torch.Generator) -> Tensor:
    """True with the given probability, once per picture: bool of shape (picture, 1, 1)."""
    return torch.rand(count, 1, 1, generator=generator) < probability


def sign(count: int, generator: torch.Generator) -> Tensor:
    """-1 or +1 per picture: float32 of shape (picture, 1, 1)."""
    return torch.where(chance(count, 0.5, generator), 1.0, -1.0)

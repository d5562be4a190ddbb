"""Random noise."""

import math

import torch
from torch import Tensor

from phosphene_server.maximization.transforms.normal_bank import normal_bank
from phosphene_server.maximization.transforms.transform import Photometric


def noise(*, standard_deviation: float) -> Photometric:
    """Return normally distributed noise on every pixel and colour; 1 is the distance from black to white."""
    return Photometric("noise", 1, (standard_deviation,), _apply)


def _apply(pictures: Tensor, numbers: Tensor, draws: Tensor) -> Tensor:
    count = math.prod(pictures.shape[1:])
    bank = normal_bank(count, dtype=pictures.dtype, device=pictures.device)
    places = len(bank) - count
    starts = (draws[:, 0] * places).long().clamp(max=places - 1)
    stretches = bank.as_strided((places, count), (1, 1)).index_select(0, starts)
    return torch.addcmul(pictures, numbers.reshape(-1, 1, 1, 1), stretches.reshape(pictures.shape))

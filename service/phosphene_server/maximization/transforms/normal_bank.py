"""Normally distributed numbers, drawn once.

Drawing them anew for every picture at every step took a tenth of a step. Instead each picture reads, at each step, a
stretch of one long row of numbers from a random place on. Where it starts may be drawn ahead, on the host or on the
device, and stretches of the same numbers can only meet shifted against each other, which no network notices.
"""

import functools

import torch
from torch import Tensor

CHUNK = 2**20
PLACES = 2**21
"""At how many places a stretch may start, at least."""


def normal_bank(count: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a row of numbers with mean 0 and standard deviation 1 from which stretches of `count` can be read.

    Its first numbers are the same for every count, type and device.
    """
    return _drawn(-(-(PLACES + count) // CHUNK), dtype, device)


@functools.lru_cache(maxsize=4)
def _drawn(chunks: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    parts = [torch.randn(CHUNK, generator=torch.Generator().manual_seed(chunk)) for chunk in range(chunks)]
    return torch.cat(parts).to(device, dtype)

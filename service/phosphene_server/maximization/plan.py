"""What the steps of an ascent need that does not depend on its pictures, computed ahead for a block of steps.

Drawn and computed on the host in float64, sent to the device once for each block: a step sends nothing.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from phosphene_server.maximization.adam import coefficients
from phosphene_server.maximization.randomness import Purpose, draw_seeds, generator
from phosphene_server.maximization.transforms import Chain
from phosphene_server.values.maximization import MaximizeActivationRequest

BLOCK_STEPS = 64
"""How many steps are planned ahead."""


@dataclass(frozen=True)
class Plan:
    """A block of steps."""

    matrices: Tensor
    """(step, picture, 2, 3): the map through which each picture is seen."""
    coefficients: Tensor
    """(step, picture, 4): the numbers of Adam."""
    noise_seeds: tuple[tuple[int, ...], ...]
    """For each picture, for each step."""


def plan_block(
    request: MaximizeActivationRequest, chain: Chain, block: int, *, dtype: torch.dtype, device: torch.device
) -> Plan:
    """Plan a block of steps of a prepared request; the first block is 0."""
    assert request.seed is not None
    assert request.size is not None
    pictures = range(request.pictures)
    maps, seeds = [], []
    for picture in pictures:
        source = generator(request.seed, picture=picture, purpose=Purpose.TRANSFORMS, block=block)
        maps.append(chain.matrices(source, BLOCK_STEPS, request.size))
        noise = generator(request.seed, picture=picture, purpose=Purpose.NOISE, block=block)
        seeds.append(tuple(draw_seeds(noise, BLOCK_STEPS)))
    rows = coefficients(request.optimizer, first_step=block * BLOCK_STEPS, count=BLOCK_STEPS)
    return Plan(
        matrices=torch.from_numpy(np.stack(maps, axis=1)).to(device, dtype),
        coefficients=torch.from_numpy(rows)[:, None].expand(-1, len(pictures), -1).to(device, dtype),
        noise_seeds=tuple(seeds),
    )

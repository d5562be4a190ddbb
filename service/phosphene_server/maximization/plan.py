"""What the steps of an ascent need that does not depend on its pictures, computed ahead for a block of steps.

Drawn and computed on the host in float64, sent to the device once for each block: a step sends nothing.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from phosphene_server.maximization.randomness import Purpose, generator
from phosphene_server.maximization.recipe import Recipe
from phosphene_server.values.maximization import MaximizeActivationRequest

BLOCK_STEPS = 64
"""How many steps are planned ahead."""


@dataclass(frozen=True)
class Plan:
    """A block of steps of some pictures; or, from `at`, one step, without the second axis."""

    matrices: Tensor
    """(picture, step, 2, 3): the map through which each picture is seen."""
    draws: Tensor
    """(picture, step, n), in [0, 1): what photometric transforms draw."""
    optimizer: Tensor
    """(picture, step, n): the numbers of the optimizer."""

    def at(self, pictures: Tensor, steps: Tensor) -> "Plan":
        """Return what each picture needs at its own step; both arguments are int64, (picture,)."""
        place = steps % BLOCK_STEPS
        return Plan(self.matrices[pictures, place], self.draws[pictures, place], self.optimizer[pictures, place])


def plan_block(request: MaximizeActivationRequest, recipe: Recipe, block: int, *, dtype: torch.dtype) -> Plan:
    """Plan a block of steps of a prepared request, on the host; the first block is 0."""
    assert request.seed is not None
    assert request.size is not None
    maps, draws = [], []
    for picture in range(request.pictures):
        source = generator(request.seed, picture=picture, purpose=Purpose.GEOMETRY, block=block)
        maps.append(recipe.chain.matrices(source, BLOCK_STEPS, request.size))
        source = generator(request.seed, picture=picture, purpose=Purpose.PHOTOMETRY, block=block)
        draws.append(source.random((BLOCK_STEPS, recipe.chain.draws)))
    numbers = recipe.optimizer.numbers(block * BLOCK_STEPS, BLOCK_STEPS)
    return Plan(
        matrices=torch.from_numpy(np.stack(maps)).to(dtype),
        draws=torch.from_numpy(np.stack(draws)).to(dtype),
        optimizer=torch.from_numpy(np.stack([numbers] * request.pictures)).to(dtype),
    )

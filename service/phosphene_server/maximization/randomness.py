"""One stream of random numbers for each picture.

What is drawn depends on the seed of the request, the index of the picture, the purpose and the step alone: not on the
neighbours in the batch, and not on what was drawn before. So a job that goes on from a checkpoint draws what it would
have drawn, and no state of a generator has to be kept.
"""

from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """What random numbers are for; each purpose has a stream of its own."""

    START = 0
    GEOMETRY = 1
    PHOTOMETRY = 2


def generator(seed: int, *, picture: int, purpose: Purpose, block: int = 0) -> np.random.Generator:
    """Return the generator of a picture for a purpose; `block` counts the blocks of steps."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(picture, purpose, block)))


def torch_generator(source: np.random.Generator) -> torch.Generator:
    """Return a generator of torch on the CPU, seeded from another; it reads the lower 32 bits of a seed alone."""
    made = torch.Generator("cpu")
    made.manual_seed(int(source.integers(2**32)))
    return made

"""How the numbers behind a picture are moved up their gradient.

One file for each optimizer, each with one factory. What an optimizer remembers has a row for each picture, and what its
settings say becomes numbers of each step, so that pictures with different settings are moved together.
"""

from collections.abc import Callable, Mapping
from typing import Any

from phosphene_server.maximization.optimizers.adam import adam
from phosphene_server.maximization.optimizers.optimizer import Memory, Optimizer
from phosphene_server.values import maximization as values

__all__ = ["OPTIMIZERS", "Memory", "Optimizer", "adam", "make_optimizer"]

OPTIMIZERS: Mapping[str, Callable[[Any], Optimizer]] = {
    "adam": lambda value: adam(learning_rate=value.learning_rate, beta1=value.beta1, beta2=value.beta2),
}
"""The kind of a value, and how the optimizer is made of it."""


def make_optimizer(value: values.Optimizer) -> Optimizer:
    """Make the optimizer that a request describes."""
    return OPTIMIZERS[value.kind](value)

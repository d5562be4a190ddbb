"""Reasons to stop before the last step."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """Stops when every picture has reached an objective."""

    objective: float


@dataclass(frozen=True)
class Plateau:
    """Stops when the objective no longer rises."""

    window: int | None = None
    tolerance: float | None = None


StopRule = Target | Plateau


def target(objective: float) -> Target:
    """Stop when the objective of every picture is at least this value."""
    return Target(objective)


def plateau(*, window: int | None = None, tolerance: float | None = None) -> Plateau:
    """Stop when the mean of the last `window` steps is not above that of the `window` steps before.

    Args:
        window: The number of steps in each of the two windows, 4 to 10000. Default: 32.
        tolerance: The relative rise that still counts as rising, 0 to 1. Default: 0.001.
    """
    return Plateau(window, tolerance)

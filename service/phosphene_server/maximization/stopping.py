"""When a maximization is done: plain functions of its history."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phosphene_server.values.maximization import StopReason, StopRule

History = NDArray[np.float64]
"""The objective at each step, (step, picture)."""


def target_reached(history: History, *, objective: float) -> bool:
    """Whether every picture had at least this objective at the last step."""
    return bool(len(history)) and bool((history[-1] >= objective).all())


def plateau_reached(history: History, *, window: int, tolerance: float) -> bool:
    """Whether the objective of no picture still rises.

    It does not rise when its mean over the last `window` steps is not above that over the `window` steps before by more
    than `tolerance` times the size of the latter.
    """
    if len(history) < 2 * window:
        return False
    before = history[-2 * window : -window].mean(axis=0)
    last = history[-window:].mean(axis=0)
    return bool((last <= before + tolerance * np.abs(before)).all())


STOP_RULES: Mapping[str, Callable[[Any, History], bool]] = {
    "target": lambda rule, history: target_reached(history, objective=rule.objective),
    "plateau": lambda rule, history: plateau_reached(history, window=rule.window, tolerance=rule.tolerance),
}
"""The kind of a rule, which is also the reason that it gives, and whether it holds."""


def stop_reason(history: History, rules: Sequence[StopRule], *, steps: int) -> StopReason | None:
    """Return why a maximization ends now, None if it goes on; a rule comes before the last step."""
    for rule in rules:
        if STOP_RULES[rule.kind](rule, history):
            return rule.kind
    return "steps" if len(history) >= steps else None

"""What can be subtracted from the objective, so that the picture stays calm.

One file for each penalty, each with one factory. A penalty looks at the picture itself, before the random changes; it
is a mean over the picture, 0 for one that it cannot improve.
"""

from collections.abc import Callable, Mapping
from typing import Any

from phosphene_server.maximization.penalties.l1 import l1
from phosphene_server.maximization.penalties.l2 import l2
from phosphene_server.maximization.penalties.penalty import Penalty
from phosphene_server.maximization.penalties.total_variation import total_variation
from phosphene_server.values import maximization as values

__all__ = ["PENALTIES", "Penalty", "l1", "l2", "make_penalty", "total_variation"]

PENALTIES: Mapping[str, Callable[[Any], Penalty]] = {
    "total_variation": lambda _: total_variation(),
    "l1": lambda _: l1(),
    "l2": lambda _: l2(),
}
"""The kind of a value, and how the penalty is made of it."""


def make_penalty(value: values.Penalty) -> Penalty:
    """Make the penalty that a request describes."""
    return PENALTIES[value.kind](value)

"""In which order waiting jobs are started.

Priority comes first, but it ages: each step of priority is worth `AGEING_SECONDS` of waiting, so a job is overtaken
only by those that came at most `AGEING_SECONDS * (their priority - its own)` after it, and nothing waits forever. As
all jobs age alike, their order never changes, and one number for each job says it.

An owner holds no more lanes than one step may have, or one job: its other pictures would not be stepped anyway before
the first ones are finished, and would keep others from starting. Those of its jobs that wait for its own places stand
behind all others, and whoever comes passes them.

The front process tells a caller a position before the worker does, so it uses the same order. No torch here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

AGEING_SECONDS = 30.0
"""How long one must have waited longer to pass a job whose priority is higher by 1."""


class Waiting(Protocol):
    """A job that waits to be started."""

    @property
    def owner(self) -> str:
        """Who shares one owner's part of the device with it."""

    @property
    def lanes(self) -> int:
        """The number of its pictures."""

    @property
    def rank(self) -> float:
        """What `rank` said when it came; lower ones are started first, among equals who came first."""


WaitingKind = TypeVar("WaitingKind", bound=Waiting)


def rank(*, arrival_seconds: float, priority: int) -> float:
    """Return what a job is sorted by, lowest first; `arrival_seconds` on any clock, the same for all."""
    return arrival_seconds - priority * AGEING_SECONDS


def start_order(
    waiting: Iterable[WaitingKind], *, held: Mapping[str, int], lanes_of_owner: int
) -> tuple[list[WaitingKind], list[WaitingKind]]:
    """Return the jobs that may start when there is room, and then those that wait for places of their own owner.

    Args:
        waiting: The jobs in the order in which they came.
        held: The lanes that run, by owner.
        lanes_of_owner: The most lanes of one owner, unless a single job has more.
    """
    taken = Counter(held)
    ready: list[WaitingKind] = []
    later: list[WaitingKind] = []
    for job in sorted(waiting, key=lambda job: job.rank):
        if taken[job.owner] == 0 or taken[job.owner] + job.lanes <= lanes_of_owner:
            ready.append(job)
            taken[job.owner] += job.lanes
        else:
            later.append(job)
            taken[job.owner] += lanes_of_owner  # the owner's younger jobs must not pass it
    return ready, later

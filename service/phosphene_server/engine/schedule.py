"""Whose turn it is: owners share the device by time, in proportion to their weights.

An *owner* is whoever asked: all pictures of one layer request have the same owner, and so do all pictures of one job. A
*group* is what can be stepped in one batch. At each turn one batch of one group is stepped once.

    served   each owner has a virtual time: the seconds of the device that it has had, divided by its weight. Its weight
             is the highest priority of its jobs.
    chosen   the turn goes to the group of the owner whose virtual time is least: to that of the owner's oldest job.
    filled   the batch takes lanes of that group, owners in the order of their virtual times, the jobs of an owner
             oldest first, up to the lanes that a step may have and to what fits into memory. So the pictures of a layer
             are finished a few at a time instead of all at the very end. The pictures of one job are stepped together,
             even where they are more than a step may have; then they are alone.
    charged  the seconds of the turn are divided among the owners by their lanes in it.

So a layer of five hundred pictures gets no more of the device than one picture beside it; a group whose step takes ten
times as long gets its share of the time, not of the turns; and who asks twice as urgently gets twice as much. An owner
that joins starts level with the one that was served least: it neither waits for the others to be matched nor makes up
for time when it was not there.

The trap is a batch that changes at each turn: its parameters would have to be stacked anew each time. So virtual times
are compared in coarse steps, `ROUND_SECONDS` divided by the number of owners; among equals the first to come goes on.
And owners that are charged alike in a turn are made level where they nearly are: no step takes exactly as long as
another, and without that, those of two full batches would soon be mixed, at every turn anew.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Protocol, TypeVar

ROUND_SECONDS = 0.2
"""How long it may take until each owner has had a turn, where single steps do not take longer."""

NEARLY_LEVEL = 0.25
"""Up to which share of what they are charged in a turn owners are made level. As it is small, none gains by it what it
would not lose as often."""


class Share(Protocol):
    """A running job, as the schedule sees it."""

    @property
    def owner(self) -> str:
        """Who shares one owner's part of the device with it."""

    @property
    def priority(self) -> int:
        """How many times as much of the device its owner gets, 1 or more."""

    @property
    def group(self) -> Hashable:
        """Jobs of equal groups can be stepped in one batch."""

    @property
    def lanes(self) -> int:
        """The number of its pictures, 1 or more."""

    @property
    def step_bytes_per_lane(self) -> int:
        """The memory that a lane takes while it is stepped."""


ShareKind = TypeVar("ShareKind", bound=Share)


class FairTurns:
    """Remembers what each owner has had, and chooses the jobs of the next turn."""

    def __init__(self) -> None:
        self._served: dict[str, float] = {}
        """The virtual time of each owner, in seconds; who joined first comes first."""
        self._weights: dict[str, int] = {}

    def next(
        self, jobs: Sequence[ShareKind], *, lane_limit: Callable[[Hashable], int], room_bytes: int
    ) -> list[ShareKind]:
        """Return the jobs to be stepped next in one batch, the oldest first.

        Args:
            jobs: All jobs that have something to do, at least one, the oldest first. Owners that have none among them
                are forgotten.
            lane_limit: The most lanes of a group in one batch.
            room_bytes: The memory that is free for a step.
        """
        owners = self._owners(jobs)
        order = self._order(owners)
        group = owners[order[0]][0].group
        candidates = [job for owner in order for job in owners[owner] if job.group == group]
        batch = _filled(candidates, lane_limit=lane_limit(group), room_bytes=room_bytes)
        return [job for job in jobs if job in batch]  # in the order of their age: the same jobs are the same batch

    def charge(self, jobs: Sequence[Share], *, seconds: float) -> None:
        """Note the time that a turn of these jobs took; owners that have left meanwhile are left out."""
        lanes: Counter[str] = Counter()
        for job in jobs:
            lanes[job.owner] += job.lanes
        alike: dict[float, list[str]] = {}
        for owner in lanes:
            if owner in self._served:
                alike.setdefault(seconds * lanes[owner] / lanes.total() / self._weights[owner], []).append(owner)
        for charge, owners in alike.items():
            for owner in owners:
                self._served[owner] += charge
            self._level(owners, within=NEARLY_LEVEL * charge)

    def _level(self, owners: Sequence[str], *, within: float) -> None:
        """Give the same virtual time to owners whose times are nearly the same."""
        rising = sorted(owners, key=self._served.__getitem__)
        while rising:
            near = [owner for owner in rising if self._served[owner] - self._served[rising[0]] <= within]
            mean = sum(self._served[owner] for owner in near) / len(near)
            self._served |= dict.fromkeys(near, mean)
            rising = rising[len(near) :]

    def _owners(self, jobs: Sequence[ShareKind]) -> Mapping[str, list[ShareKind]]:
        """Return the jobs by owner, and know exactly these owners from now on."""
        owners: dict[str, list[ShareKind]] = {}
        for job in jobs:
            owners.setdefault(job.owner, []).append(job)
        if self._served.keys() != owners.keys():
            level = min((self._served[owner] for owner in owners if owner in self._served), default=0.0)
            stayed = {owner: served for owner, served in self._served.items() if owner in owners}
            self._served = stayed | {owner: level for owner in owners if owner not in stayed}
        self._weights = {owner: max(job.priority for job in own) for owner, own in owners.items()}
        return owners

    def _order(self, owners: Mapping[str, object]) -> list[str]:
        grain = ROUND_SECONDS / len(owners)
        return sorted(self._served, key=lambda owner: self._served[owner] // grain)


def _filled(candidates: Sequence[ShareKind], *, lane_limit: int, room_bytes: int) -> set[ShareKind]:
    """Return the jobs of a batch: the first one in any case, and whatever fits beside it, in their order.

    The lanes of a batch share one graph, so each takes as much memory as the one that takes the most.
    """
    batch: set[ShareKind] = set()
    lanes = bytes_per_lane = 0
    for job in candidates:
        more, most = lanes + job.lanes, max(bytes_per_lane, job.step_bytes_per_lane)
        if batch and (more > lane_limit or more * most > room_bytes):
            continue
        batch.add(job)
        lanes, bytes_per_lane = more, most
        if lanes >= lane_limit:
            break
    return batch

"""Whose turn it is: groups of jobs share the device evenly by time, not by steps.

A group whose step takes ten times as long gets a tenth of the turns, so a small picture beside a large one goes on at
half its own speed instead of the large one's. A group that joins starts level with the one that was served least: it
neither waits for the others to be matched nor makes up for time when it was not there.
"""

from collections.abc import Collection, Hashable


class FairTurns:
    """Remembers the seconds that each group has had, and gives the next turn to the one that had the least."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, float] = {}

    def next(self, groups: Collection[Hashable]) -> Hashable:
        """Return the group to be stepped next; groups that are not named any more are forgotten.

        Args:
            groups: The groups that have something to do, at least one. Among equals the first is taken.
        """
        level = min((self._seconds[group] for group in groups if group in self._seconds), default=0.0)
        self._seconds = {group: self._seconds.get(group, level) for group in groups}
        return min(self._seconds, key=self._seconds.__getitem__)

    def charge(self, group: Hashable, *, seconds: float) -> None:
        """Note the time that a group's turn took."""
        self._seconds[group] = self._seconds.get(group, 0.0) + seconds

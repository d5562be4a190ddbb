"""How many lanes of a group a step may have: as many as the settings say, fewer where so many turned out to fail."""

from collections.abc import Collection, Hashable

PATIENCE_TURNS = 256
"""After so many turns without a failure a limit is doubled: what filled the memory may be gone."""


class LaneLimits:
    """Halves the limit of a group when a step of it failed, and doubles it again when none did for long."""

    def __init__(self, lanes_per_step: int) -> None:
        """Take the most lanes of any group."""
        self._most = lanes_per_step
        self._limits: dict[Hashable, tuple[int, int]] = {}
        """The lowered limits, and the turns since they were changed last."""

    def get(self, group: Hashable) -> int:
        """Return the most lanes of a group in one batch."""
        return self._limits.get(group, (self._most, 0))[0]

    def failed(self, group: Hashable, *, lanes: int) -> None:
        """Note that a step of so many lanes was too much."""
        self._limits[group] = max(1, min(lanes, self._most) // 2), 0

    def succeeded(self, group: Hashable) -> None:
        """Note that a step was done."""
        if group not in self._limits:
            return
        limit, turns = self._limits[group]
        if turns + 1 < PATIENCE_TURNS:
            self._limits[group] = limit, turns + 1
        elif 2 * limit < self._most:
            self._limits[group] = 2 * limit, 0
        else:
            del self._limits[group]

    def keep(self, groups: Collection[Hashable]) -> None:
        """Forget all other groups."""
        self._limits = {group: limit for group, limit in self._limits.items() if group in groups}

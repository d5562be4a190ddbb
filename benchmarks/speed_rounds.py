"""Turns: every row runs some steps, one after the other, round after round, and medians over the rounds are compared.

What else the machine does then falls on all alike. A ratio is the median of the ratios within each round, which a
slow minute does not change. Each round begins with another row. A turn begins with a few steps that are not counted,
for whoever had the turn before has emptied the caches.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.speed_block import quartiles
from benchmarks.speed_cases import Case
from benchmarks.speed_process import ContenderFailed, ContenderProcess, Surroundings

FIRST_STEPS = 16
"""The steps of a job in which its rectifiers are redirected: they are measured apart."""


TURN_WARM_STEPS = 2
"""The steps at the beginning of a turn that are not counted."""


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    name: str
    contender: str
    case: Case
    surroundings: Surroundings = "plain"
    steps: int | None = None
    """The steps in a turn; None: as many as the others."""


@dataclass
class Times:
    """The milliseconds of a step of each row, in each round; a row that failed is only in `failures`."""

    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float | None:
        """Return the median of a row; None where it failed."""
        return statistics.median(self.milliseconds[name]) if name in self.milliseconds else None

    def ratio(self, name: str, other: str) -> float | None:
        """Return the median over the rounds of a row's time over another's; None where one of them failed."""
        pairs = self._ratios(name, other)
        return statistics.median(pairs) if pairs else None

    def ratios(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return the ratios of pairs of rows with their quartiles, by `first / second`."""
        found = {f"{name} / {other}": self._ratios(name, other) for name, other in pairs}
        return {name: spread(values, digits=4) for name, values in found.items() if values}

    def report(self) -> dict[str, Any]:
        rows: dict[str, Any] = {name: spread(values, digits=3) for name, values in self.milliseconds.items()}
        return rows | {name: {"failure": text} for name, text in self.failures.items()}

    def _ratios(self, name: str, other: str) -> list[float]:
        if name not in self.milliseconds or other not in self.milliseconds:
            return []
        pairs = zip(self.milliseconds[name], self.milliseconds[other], strict=True)
        return [first / second for first, second in pairs]


def spread(values: Sequence[float], *, digits: int) -> dict[str, Any]:
    """Return the median of some values, their quartiles and the smallest of them."""
    low, high = quartiles(values)
    return {
        "median": round(statistics.median(values), digits),
        "quartiles": [round(low, digits), round(high, digits)],
        "smallest": round(min(values), digits),
    }


class Stable:
    """The processes of the contenders, started when first needed and kept for all sections."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._processes: dict[tuple[str, Surroundings], ContenderProcess] = {}
        self._failures: dict[tuple[str, Surroundings], str] = {}

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    def run(self, row: Row, steps: int, *, profiled: bool = False) -> dict[str, Any]:
        """Let a row run; a contender whose process ends is not started again.

        Raises:
            ContenderFailed: it failed now or before.
        """
        process = self._process(row)
        try:
            return process.run(row.case, steps, profiled=profiled)
        except ContenderFailed as error:
            if process.ended:
                self._failures[row.contender, row.surroundings] = str(error)
            raise

    def start(self, rows: Sequence[Row]) -> None:
        """Start the processes of some rows side by side, and wait until all are ready or have failed."""
        for row in rows:
            self._start(row)
        for row in rows:
            key = row.contender, row.surroundings
            try:
                self._processes[key].wait_until_ready()
            except ContenderFailed as error:
                self._failures.setdefault(key, str(error))

    def idle_shares(self) -> dict[str, float]:
        """Return how much of a core each contender took while it waited for its turns."""
        return {
            f"{contender}, {surroundings}": round(process.processor_seconds_waiting / process.waiting_seconds, 4)
            for (contender, surroundings), process in self._processes.items()
            if process.waiting_seconds
        }

    def close(self) -> None:
        for process in self._processes.values():
            process.close()
        self._processes.clear()

    def __enter__(self) -> "Stable":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _process(self, row: Row) -> ContenderProcess:
        key = row.contender, row.surroundings
        if key in self._failures:
            raise ContenderFailed(self._failures[key])
        return self._start(row)

    def _start(self, row: Row) -> ContenderProcess:
        key = row.contender, row.surroundings
        if key not in self._processes:
            self._processes[key] = ContenderProcess(row.contender, device=self.device, surroundings=row.surroundings)
        return self._processes[key]


def interleaved(stable: Stable, rows: Sequence[Row], *, steps: int, rounds: int, warm_steps: int = 3) -> Times:
    """Let rows take turns.

    Args:
        stable: The processes.
        rows: What is compared; names differ.
        steps: Steps in a turn, where a row does not say otherwise.
        rounds: How many turns each row has.
        warm_steps: Steps before the first turn that are not counted; ours begin with `FIRST_STEPS` more.
    """
    times = Times()
    stable.start(rows)
    for row in rows:
        _try(stable, row, warm_steps if not row.contender.startswith("phosphene") else FIRST_STEPS + warm_steps, times)
    for number in range(rounds):
        first = number % len(rows)
        for row in (*rows[first:], *rows[:first]):
            if row.name not in times.failures:
                _try(stable, row, TURN_WARM_STEPS, times)
            if row.name not in times.failures:
                milliseconds = _try(stable, row, row.steps or steps, times)
                if milliseconds is not None:
                    times.milliseconds.setdefault(row.name, []).append(milliseconds)
    for name in times.failures:
        times.milliseconds.pop(name, None)
    return times


def _try(stable: Stable, row: Row, steps: int, times: Times) -> float | None:
    """Return the milliseconds of a step, or None when the row failed."""
    try:
        answer = stable.run(row, steps)
    except ContenderFailed as error:
        times.failures[row.name] = str(error)
        return None
    seconds: float = answer["seconds"]
    return 1000 * seconds / steps

"""What a section of the benchmark gives: numbers for the file and lines for people."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Block:
    """The outcome of a section."""

    data: dict[str, Any]
    """What is written as JSON."""
    lines: tuple[str, ...]
    """What is printed."""


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> tuple[str, ...]:
    """Return lines of a table: the first column at the left, numbers at the right; None is a dash."""
    cells = [list(head)] + [[shown(cell) for cell in row] for row in rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(head))]
    return tuple(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def shown(cell: object) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 100 else f"{cell:,.0f}"
    return str(cell)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the values below which a quarter and three quarters of some values lie; of one value, that value twice."""
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least a share of the values do not exceed (the nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def slope(places: Sequence[float], values: Sequence[float]) -> float:
    """Return the slope of the straight line that is nearest to some points, by least squares."""
    return statistics.linear_regression(places, values).slope

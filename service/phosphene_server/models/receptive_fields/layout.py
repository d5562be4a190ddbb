"""How the axes of an activation are made of the rows and columns of the network's grid.

An axis is a sequence of digits, the slowest first. In (batch, channel, height, width) the third axis is one digit, the
rows. Cutting a picture of 56 rows into windows of 7 splits them into two digits, which window (8 values, 7 rows apart)
and which row in the window (7 values, 1 row apart); flattening joins digits of rows, columns and channels in one axis.
Reshaping and permuting only move digits, so that attention over tokens or windows can be told from a mixture of all.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Direction = Literal["row", "column"]
DIRECTIONS: tuple[Direction, ...] = ("row", "column")


@dataclass(frozen=True)
class Digit:
    """A part of an axis."""

    direction: Direction | Literal["scattered"] | None
    """None for what has no place in the picture: batch, channels, heads. `scattered`: positions whose order is lost."""
    size: int
    """The number of its values."""
    weight: int = 1
    """How many positions apart two positions are whose digit differs by one."""


Axis = tuple[Digit, ...]
Layout = tuple[Axis, ...]


def free_axis(size: int) -> Axis:
    """Return an axis that has nothing to do with places in the picture."""
    return (Digit(None, size),)


def axis_size(axis: Axis) -> int:
    """Return the length of an axis."""
    return math.prod(digit.size for digit in axis)


def is_free(axis: Axis) -> bool:
    """Whether an axis has nothing to do with places in the picture."""
    return all(digit.direction is None for digit in axis)


def pure_direction(axis: Axis, lengths: dict[Direction, int]) -> Direction | None:
    """Return the direction all of which an axis is and nothing else; `lengths`: the positions of each."""
    if len(axis) != 1 or axis[0].direction is None or axis[0].direction == "scattered":
        return None
    digit = axis[0]
    return axis[0].direction if digit.weight == 1 and lengths.get(axis[0].direction) == digit.size else None


def digits_of(axes: Sequence[Axis], direction: Direction) -> Iterator[Digit]:
    """Yield the digits of a direction on some axes."""
    for axis in axes:
        yield from (digit for digit in axis if digit.direction == direction)


def reshape_layout(layout: Layout, shape: Sequence[int]) -> Layout | None:
    """Return the layout behind a reshape, None where a digit would have to be split unevenly."""
    before = [axis_size(axis) for axis in layout]
    front = _common(before, shape)
    back = _common(before[front:][::-1], list(shape[front:])[::-1])
    middle = layout[front : len(layout) - back]
    regrouped = _regroup(
        [digit for axis in middle for digit in axis if digit.size != 1], shape[front : len(shape) - back]
    )
    if regrouped is None:
        return None
    return (*layout[:front], *regrouped, *layout[len(layout) - back :])


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many leading lengths are the same."""
    count = 0
    while count < min(len(first), len(second)) and first[count] == second[count]:
        count += 1
    return count


def _regroup(digits: list[Digit], shape: Sequence[int]) -> list[Axis] | None:
    """Deal digits out to axes from the last to the first, splitting those that reach across."""
    waiting = list(digits)
    axes: list[Axis] = []
    for length in reversed(shape):
        axis: list[Digit] = []
        room = length
        while room > 1:
            if not waiting:
                return None
            digit = waiting.pop()
            if digit.size > room:
                if digit.size % room or digit.direction == "scattered":
                    return None
                waiting.append(
                    replace(digit, size=digit.size // room, weight=digit.weight * room if digit.direction else 1)
                )
                digit = replace(digit, size=room)
            elif room % digit.size:
                return None
            room //= digit.size
            axis.insert(0, digit)
        axes.insert(0, _joined(axis) or free_axis(1))
    return axes if not waiting else None


def _joined(axis: Sequence[Digit]) -> Axis:
    """Join neighbours that are one digit: the outer of them counts in steps of the inner."""
    result: list[Digit] = []
    for digit in axis:
        last = result[-1] if result else None
        if last is not None and _is_outer(last, digit):
            result[-1] = replace(digit, size=last.size * digit.size)
        else:
            result.append(digit)
    return tuple(result)


def _is_outer(outer: Digit, inner: Digit) -> bool:
    """Whether two neighbours are one digit."""
    if outer.direction != inner.direction or outer.direction == "scattered":
        return False
    return outer.direction is None or outer.weight == inner.weight * inner.size

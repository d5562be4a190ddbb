"""What the positions along one direction of an activation, its rows or its columns, see of the picture.

Position p sees the rows `low[p]` to `high[p]` of the input, borders included. The numbers are those of an endless
picture: a position at the border of a padded convolution sees rows below 0, where the padding is. That is the
theoretical receptive field; the part of it that lies in the picture is what a gradient can show.

Along a direction the intervals repeat: `period` positions further on, the same intervals follow, moved by
`period * stride` rows. The period is 1 for convolutions and pools. It is 2 behind a transposed convolution of stride 2,
whose even and odd positions see different numbers of rows, and 7 behind attention in windows of 7 positions. With it
the intervals of positions that do not exist, in the padding, are known too.

References:
    Andre Araujo, Wade Norris, Jack Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill, 2019,
    https://distill.pub/2019/computing-receptive-fields. Their closed forms are the case of period 1; intervals instead
    of sizes make slices, resizing, windows and paths of different lengths exact as well.
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

ENDLESS = 2**40
"""Farther than any picture reaches: the borders of an interval that takes in the whole picture whatever its size."""


@dataclass(frozen=True, eq=False)
class Reach:
    """The intervals that the positions along a direction see."""

    low: Integers
    """The first row or column that each position sees; above `high` where it sees none."""
    high: Integers
    stride: Fraction
    """Rows or columns of the picture between neighbouring positions; negative where the direction is reversed."""
    period: int
    offset: Fraction
    """Where position 0 is in the picture, which intervals without end no longer tell."""
    scattered: bool = False
    """Whether positions have lost their order, so that only the lengths of the intervals mean something."""

    def __len__(self) -> int:
        """Return the number of positions."""
        return len(self.low)

    @property
    def size(self) -> int:
        """The length of the longest interval, 0 where no position sees anything; `ENDLESS` or more for the whole."""
        return max(int((self.high - self.low).max(initial=-1)) + 1, 0)

    @property
    def is_whole(self) -> bool:
        """Whether some position sees the whole picture whatever its size."""
        return self.size >= ENDLESS

    @property
    def centre(self) -> Fraction:
        """The middle of what position 0 sees; with a period above 1, of a line through the middles of a period."""
        seen = [p for p in range(min(self.period, len(self))) if self.low[p] <= self.high[p]]
        if self.is_whole or not seen:
            return self.offset
        middles = [Fraction(int(self.low[p] + self.high[p]), 2) - self.stride * p for p in seen]
        return sum(middles, Fraction(0)) / len(middles)


def whole_direction(length: int) -> Reach:
    """Return the reach of the input itself: every position sees itself."""
    places = np.arange(length, dtype=np.int64)
    return Reach(places, places, Fraction(1), 1, Fraction(0))


def endless(reach: Reach) -> Reach:
    """Return positions in the same places that see the whole picture."""
    return replace(reach, low=np.full(len(reach), -ENDLESS), high=np.full(len(reach), ENDLESS), period=1)


def repeated(reach: Reach, count: int) -> Reach:
    """Return `count` positions that see what the first sees."""
    return replace(reach, low=np.full(count, reach.low[0]), high=np.full(count, reach.high[0]))


def scatter(reach: Reach) -> Reach:
    """Return the reach of positions whose order is lost."""
    if reach.is_whole:
        return one_of(endless(reach), 0)
    return Reach(np.array([0]), np.array([reach.size - 1]), reach.stride, 1, reach.offset, scattered=True)


def one_of(reach: Reach, index: int) -> Reach:
    """Return a single position, for a direction that an activation no longer has."""
    place = slice(index, index + 1)
    return replace(reach, low=reach.low[place], high=reach.high[place], period=1, offset=_moved(reach, index))


def gathered(
    reach: Reach,
    taps: Integers,
    *,
    stride: Fraction,
    period: int,
    offset: Fraction,
    valid: NDArray[np.bool_] | None = None,
) -> Reach:
    """Return the reach of positions that each read several positions.

    Args:
        reach: What is read.
        taps: (tap, position): the positions that are read, which may lie outside, in the padding.
        stride: Positions that are read per position that is made.
        period: After how many positions the taps repeat, moved by `period * stride`.
        offset: The place, among what is read, of position 0.
        valid: (tap, position): which taps there are; None: all.
    """
    low, high = _at(reach, reach.low, taps), _at(reach, reach.high, taps)
    if valid is not None:
        low, high = np.where(valid, low, ENDLESS), np.where(valid, high, -ENDLESS)
    # The taps repeat after `period` positions, what they read after `reach.period` positions there.
    moved = abs(stride * period)
    turns = reach.period // math.gcd(reach.period, int(moved)) if moved.denominator == 1 else 1
    return Reach(low.min(axis=0), high.max(axis=0), reach.stride * stride, period * turns, _moved(reach, offset))


def convolved(reach: Reach, *, length: int, kernel: int, stride: int, before: int, dilation: int) -> Reach:
    """Return the reach behind a window that slides over padded positions.

    Args:
        reach: What the window slides over.
        length: The number of positions of the window.
        kernel: Elements of the window.
        stride: Step between windows.
        before: Padding before the first position.
        dilation: Distance between the elements of the window.
    """
    starts = np.arange(length) * stride - before
    taps = starts + dilation * np.arange(kernel)[:, None]
    offset = Fraction((kernel - 1) * dilation, 2) - before
    return gathered(reach, taps, stride=Fraction(stride), period=1, offset=offset)


def transposed(reach: Reach, *, length: int, kernel: int, stride: int, before: int, dilation: int) -> Reach:
    """Return the reach behind a transposed convolution: o reads i where o = i * stride - before + k * dilation."""
    sources = np.arange(length) + before - dilation * np.arange(kernel)[:, None]
    offset = (before - Fraction((kernel - 1) * dilation, 2)) / stride
    valid = sources % stride == 0
    return gathered(reach, sources // stride, stride=Fraction(1, stride), period=stride, offset=offset, valid=valid)


def picked(reach: Reach, places: Integers) -> Reach | None:
    """Return the reach of positions that copy a position each, None where `places` follow no rule.

    The rule is looked for in the middle half, since resizing repeats the positions at the borders.
    """
    count = len(places)
    inner = places[count // 4 : max(count - count // 4, 1)] if count > 4 else places
    for period in range(1, max(len(inner) // 2, 1) + 1):
        moves = inner[period:] - inner[:-period]
        if len(moves) and (moves == moves[0]).all() and moves[0] != 0:
            stride = Fraction(int(moves[0]), period)
            middle = count // 2
            phases = [int(places[p]) - stride * p for p in range(middle, min(middle + period, count))]
            offset = sum(phases, Fraction(0)) / len(phases)
            return gathered(reach, places[None], stride=stride, period=period, offset=offset)
    return one_of(reach, int(places[0])) if count == 1 else None


def united(first: Reach, second: Reach) -> Reach:
    """Return positions that see what two positions in the same place see."""
    if first is second:
        return first
    if first.is_whole or second.is_whole or first.scattered or second.scattered or len(first) != len(second):
        return endless(first if len(first) >= len(second) else second)
    same = first.stride == second.stride
    return replace(
        first,
        low=np.minimum(first.low, second.low),
        high=np.maximum(first.high, second.high),
        # Grids of different strides drift apart, and nothing repeats.
        period=math.lcm(first.period, second.period) if same else len(first),
    )


def smeared(reach: Reach, *, size: int, weight: int) -> Reach:
    """Return positions that see what all positions of their group see: those that differ in one digit.

    Args:
        reach: What a position sees alone.
        size: The number of values of the digit.
        weight: How far apart two positions are whose digit differs by one. Attention in windows of 7 mixes groups of
            size 7 and weight 1.
    """
    if size * weight >= len(reach) or reach.scattered:
        return endless(reach)
    groups = (-1, size, weight)
    low = np.repeat(reach.low.reshape(groups).min(axis=1, keepdims=True), size, axis=1).reshape(-1)
    high = np.repeat(reach.high.reshape(groups).max(axis=1, keepdims=True), size, axis=1).reshape(-1)
    return replace(reach, low=low, high=high, period=math.lcm(reach.period, size * weight))


def fixed(reach: Reach, *, size: int, weight: int, index: int) -> Reach:
    """Return the positions one digit of which has a value, for example every second from the first."""
    chosen = np.arange(len(reach)).reshape(-1, size, weight)[:, index].reshape(-1)
    if weight == 1:
        return gathered(reach, chosen[None], stride=Fraction(size), period=1, offset=Fraction(index))
    low, high = reach.low[chosen], reach.high[chosen]
    result = replace(reach, low=low, high=high, offset=_moved(reach, index * weight))
    # A digit in the middle leaves positions at two distances.
    return result if size * weight == len(reach) else endless(result)


def _at(reach: Reach, values: Integers, places: Integers) -> Integers:
    """Return the borders of intervals at any places, outside of the direction by its period."""
    count, period = len(reach), reach.period
    if period > count:
        inside = places.clip(0, count - 1)
        beyond = (places - inside) * reach.stride.numerator // reach.stride.denominator
        extended: Integers = values[inside] + beyond
        return extended
    before = np.where(places < 0, places // period, 0)
    after = np.where(places >= count, (places - count) // period + 1, 0)
    turns = before + after
    moved = reach.stride * period
    there: Integers = values[places - turns * period] + turns * moved.numerator // moved.denominator
    return there


def _moved(reach: Reach, place: Fraction | int) -> Fraction:
    """Return where a place among the positions is in the picture."""
    return reach.offset + reach.stride * place

"""What the elements of a tensor see of the picture, and what mixing, joining and rearranging them does to it.

Beside the picture there are tensors that see nothing of it: weights, constants, masks. They have no reaches.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from phosphene_server.models.receptive_fields.layout import (
    Axis,
    Digit,
    Direction,
    Layout,
    axis_size,
    digits_of,
    free_axis,
    is_free,
    pure_direction,
    reshape_layout,
)
from phosphene_server.models.receptive_fields.reach import (
    Reach,
    endless,
    fixed,
    gathered,
    repeated,
    scatter,
    smeared,
    united,
    whole_direction,
)


@dataclass(frozen=True, eq=False)
class Sight:
    """What a tensor's elements see of the picture; the two directions are independent of each other."""

    layout: Layout
    """How its axes are made of rows and columns. The sizes of a direction's digits multiply to its reach's length."""
    reaches: Mapping[Direction, Reach]
    """Empty for what does not depend on the picture."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return tuple(axis_size(axis) for axis in self.layout)

    def direction(self, axis: int) -> Direction | None:
        """Return the direction all of which an axis is and nothing else, None where there is none."""
        return pure_direction(self.layout[axis], {key: len(reach) for key, reach in self.reaches.items()})

    def is_free(self, axis: int) -> bool:
        """Whether an axis has nothing to do with places in the picture."""
        return is_free(self.layout[axis])


def picture_channels_first(shape: Sequence[int]) -> Sight:
    """Return the sight of the picture itself, (batch, channel, height, width)."""
    batch, channels, height, width = shape
    layout = (free_axis(batch), free_axis(channels), (Digit("row", height),), (Digit("column", width),))
    return Sight(layout, {"row": whole_direction(height), "column": whole_direction(width)})


def picture_channels_last(shape: Sequence[int]) -> Sight:
    """Return the sight of the picture itself, (batch, height, width, channel)."""
    batch, height, width, channels = shape
    layout = (free_axis(batch), (Digit("row", height),), (Digit("column", width),), free_axis(channels))
    return Sight(layout, {"row": whole_direction(height), "column": whole_direction(width)})


def constant(shape: Sequence[int]) -> Sight:
    """Return the sight of a tensor that does not depend on the picture."""
    return Sight(tuple(free_axis(length) for length in shape), {})


def anywhere(shape: Sequence[int], sources: Iterable[Sight]) -> Sight:
    """Return the sight of elements each of which may see the whole picture if the sources see anything of it."""
    known = {direction: reach for source in sources for direction, reach in source.reaches.items()}
    reaches = {direction: repeated(endless(reach), 1) for direction, reach in known.items()}
    return Sight(constant(shape).layout, reaches)


# Mixing along axes


def mixed(sight: Sight, axes: Iterable[int]) -> Sight:
    """Return the same places after each element has seen what all elements along some axes see."""
    reaches = dict(sight.reaches)
    for axis in axes:
        for digit in sight.layout[axis]:
            if digit.direction == "scattered":
                reaches = {direction: endless(reach) for direction, reach in reaches.items()}
            elif digit.direction is not None:
                reach = reaches[digit.direction]
                reaches[digit.direction] = smeared(reach, size=digit.size, weight=digit.weight)
    return Sight(sight.layout, reaches)


def at_index(sight: Sight, axis: int, index: int) -> Sight:
    """Return one place along an axis, whose length is 1 then."""
    digits = sight.layout[axis]
    for position in reversed(range(len(digits))):
        index, value = divmod(index, digits[position].size)
        if digits[position].direction not in (None, "scattered"):
            sight = _without_digit(sight, axis, position, value)
    layout = list(sight.layout)
    layout[axis] = free_axis(1)
    return Sight(tuple(layout), sight.reaches)


def _without_digit(sight: Sight, axis: int, position: int, value: int) -> Sight:
    """Return the places where a digit has a value; slower digits count in smaller steps then."""
    gone = sight.layout[axis][position]
    assert gone.direction == "row" or gone.direction == "column"

    def closed(digit: Digit) -> Digit:
        slower = digit.direction == gone.direction and digit.weight > gone.weight
        return replace(digit, weight=digit.weight // gone.size) if slower else digit

    layout = [[closed(digit) for digit in entry] for entry in sight.layout]
    del layout[axis][position]
    reach = fixed(sight.reaches[gone.direction], size=gone.size, weight=gone.weight, index=value)
    return Sight(tuple(map(tuple, layout)), {**sight.reaches, gone.direction: reach})


def reduced(sight: Sight, axes: Iterable[int], *, keep: bool) -> Sight:
    """Return what a sum over some axes sees; they have length 1 if `keep`, else they are gone."""
    gone = set(axes)
    result = mixed(sight, gone)
    for axis in gone:
        result = at_index(result, axis, 0)
    return result if keep else without_axes(result, gone)


def without_axes(sight: Sight, axes: Iterable[int]) -> Sight:
    """Remove axes of length 1."""
    gone = set(axes)
    for axis in gone:
        sight = at_index(sight, axis, 0)
    return Sight(tuple(entry for axis, entry in enumerate(sight.layout) if axis not in gone), sight.reaches)


# Joining tensors


def combined(sights: Sequence[Sight], shape: Sequence[int]) -> Sight:
    """Return what the result of an operation on elements in the same places sees.

    Args:
        sights: The tensors that the operation reads.
        shape: The shape that they are broadcast to.
    """
    seeing = [sight for sight in sights if sight.reaches]
    if not seeing:
        return constant(shape)
    if len(seeing) == 1 and seeing[0].shape == tuple(shape):
        return seeing[0]
    layout = _broadcast_layout(seeing, shape)
    reaches: dict[Direction, Reach] = {}
    for sight in seeing:
        for direction, reach in sight.reaches.items():
            own = reach if _has_same_places(sight.layout, layout, direction) else endless(reach)
            reaches[direction] = united(reaches[direction], own) if direction in reaches else own
    return consistent(layout, reaches)


def _broadcast_layout(sights: Sequence[Sight], shape: Sequence[int]) -> Layout:
    """Return for each axis the digits of the first tensor that has places along it."""
    layout: list[Axis] = []
    for axis, length in enumerate(shape, start=-len(shape)):
        present = [sight.layout[axis] for sight in sights if len(sight.layout) >= -axis]
        placed = (entry for entry in present if axis_size(entry) == length and not is_free(entry))
        layout.append(next(placed, free_axis(length)))
    return tuple(layout)


def _has_same_places(own: Layout, joint: Layout, direction: Direction) -> bool:
    """Whether a tensor has the digits of a direction where another has them, or none at all."""
    if not list(digits_of(own, direction)):
        return True
    pairs = zip(reversed(own), reversed(joint), strict=False)
    return all(list(digits_of([entry], direction)) == list(digits_of([other], direction)) for entry, other in pairs)


def consistent(layout: Layout, reaches: Mapping[Direction, Reach]) -> Sight:
    """Return a sight; a reach that has not as many positions as the digits of the layout say is made endless."""
    fitting: dict[Direction, Reach] = {}
    for direction, reach in reaches.items():
        count = math.prod(digit.size for digit in digits_of(layout, direction))
        fitting[direction] = reach if len(reach) == count else repeated(endless(reach), count)
    return Sight(layout, fitting)


# Rearranging


def reshaped(sight: Sight, shape: Sequence[int]) -> Sight:
    """Return the tensor in another shape."""
    layout = reshape_layout(sight.layout, shape)
    if layout is None:
        return anywhere(shape, [sight])
    return consistent(layout, sight.reaches)


def disordered(sight: Sight, axis: int, length: int) -> Sight:
    """Return a tensor whose places along an axis came into an order that is not followed any further."""
    if sight.is_free(axis):
        return with_axis(sight, axis, free_axis(length))
    directions = {digit.direction for digit in sight.layout[axis]} - {None, "scattered"}
    layout = [
        (Digit("scattered", axis_size(entry)),) if directions & {digit.direction for digit in entry} else entry
        for entry in sight.layout
    ]
    # Digits of the other direction on the same axes are gone as well.
    layout[axis] = (Digit("scattered", length),)
    lost = {direction for direction in sight.reaches if list(digits_of(sight.layout, direction))} - {
        direction for direction in sight.reaches if list(digits_of(layout, direction))
    }
    reaches = {key: scatter(reach) if key in lost else reach for key, reach in sight.reaches.items()}
    return consistent(tuple(layout), reaches)


def with_axis(sight: Sight, axis: int, entry: Axis) -> Sight:
    """Return a tensor one of whose axes is another, for example longer."""
    layout = list(sight.layout)
    layout[axis] = entry
    return Sight(tuple(layout), sight.reaches)


def with_reach(sight: Sight, axis: int, direction: Direction, reach: Reach) -> Sight:
    """Return a tensor that has other positions along an axis that is a whole direction."""
    changed = with_axis(sight, axis, (Digit(direction, len(reach)),))
    return Sight(changed.layout, {**sight.reaches, direction: reach})


def settled(sight: Sight) -> Sight:
    """Return a tensor whose finer positions, interleaved with the rows or columns by a reshape, are positions too.

    Depth to space written as a reshape ends in axes of a row and its parts, which the layout takes for channels.
    """
    for axis, entry in enumerate(sight.layout):
        if len(entry) == 2 and entry[1].direction is None and entry[0].direction in ("row", "column"):
            direction = entry[0].direction
            reach = sight.reaches[direction]
            if entry[0].weight == 1 and entry[0].size == len(reach):
                parts = entry[1].size
                places = np.arange(len(reach) * parts)[None] // parts
                offset = Fraction(1 - parts, 2 * parts)
                finer = gathered(reach, places, stride=Fraction(1, parts), period=parts, offset=offset)
                sight = with_reach(sight, axis, direction, finer)
    return sight

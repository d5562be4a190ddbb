"""Operations that move elements without computing: views, slices, joins, shifts."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from phosphene_server.models.receptive_fields.layout import free_axis
from phosphene_server.models.receptive_fields.reach import Integers, picked, united
from phosphene_server.models.receptive_fields.rules.call import Call, Rule
from phosphene_server.models.receptive_fields.rules.sliding import shifted
from phosphene_server.models.receptive_fields.sight import (
    Sight,
    anywhere,
    at_index,
    combined,
    consistent,
    disordered,
    reshaped,
    settled,
    with_axis,
    with_reach,
    without_axes,
)


def reshape(call: Call) -> Sight:
    """A view or reshape, also one that inserts or removes axes of length 1."""
    return reshaped(call.sight("self"), call.shape)


def unsqueeze(call: Call) -> Sight:
    """A new axis of length 1."""
    sight, axis = call.sight("self"), call["dim"] % len(call.shape)
    return Sight((*sight.layout[:axis], free_axis(1), *sight.layout[axis:]), sight.reaches)


def squeeze(call: Call) -> Sight:
    """Axes of length 1, all or some, are removed."""
    sight = call.sight("self")
    rank = len(sight.layout)
    wanted = call.arguments.get("dim")
    axes = range(rank) if wanted is None else [wanted] if isinstance(wanted, int) else wanted
    return without_axes(sight, [axis % rank for axis in axes if sight.shape[axis] == 1])


def permute(call: Call) -> Sight:
    """Axes in another order."""
    sight = call.sight("self")
    return Sight(tuple(sight.layout[axis] for axis in call["dims"]), sight.reaches)


def transpose(call: Call) -> Sight:
    """Two axes exchanged: the named ones, or those of a matrix."""
    sight = call.sight("self")
    layout = list(sight.layout)
    first, second = (call["dim0"], call["dim1"]) if "dim0" in call.arguments else (0, len(layout) - 1)
    layout[first], layout[second] = layout[second], layout[first]
    return Sight(tuple(layout), sight.reaches)


def expand(call: Call) -> Sight:
    """Axes of length 1 repeated."""
    return combined([call.sight("self")], call.shape)


def repeat(call: Call) -> Sight:
    """Whole axes repeated one after the other."""
    sight = call.sight("self")
    new = len(call.shape) - len(sight.layout)
    sight = Sight((*(free_axis(1) for _ in range(new)), *sight.layout), sight.reaches)
    for axis, length in enumerate(call.shape):
        if sight.shape[axis] != length:
            sight = disordered(sight, axis, length)
    return sight


def slices(call: Call) -> Sight:
    """Every so many elements of a part of an axis."""
    axis = call["dim"] % len(call.shape)
    length = call.find(call["self"]).shape[axis]
    start, _, step = slice(call["start"], call["end"], call["step"]).indices(length)
    return _taken(call.sight("self"), axis, start + step * np.arange(call.shape[axis]))


def _taken(sight: Sight, axis: int, places: Integers) -> Sight:
    """Return some places along an axis; what it has besides them is not lost but lies beyond the border."""
    if len(places) == sight.shape[axis] and (np.diff(places) == 1).all():
        return sight
    sight = settled(sight)
    if sight.is_free(axis):
        return with_axis(sight, axis, free_axis(len(places)))
    direction = sight.direction(axis)
    regular = len(places) == 1 or len(set(np.diff(places))) == 1
    if direction is None or not len(places):
        return disordered(sight, axis, len(places))
    if regular:
        return with_reach(sight, axis, direction, shifted(sight.reaches[direction], places))
    found = picked(sight.reaches[direction], places)
    return with_reach(sight, axis, direction, found) if found else disordered(sight, axis, len(places))


def select(call: Call) -> Sight:
    """One place along an axis."""
    sight = call.sight("self")
    axis = call["dim"] % len(sight.layout)
    return without_axes(at_index(sight, axis, call["index"] % sight.shape[axis]), [axis])


def split(call: Call) -> Sequence[Sight]:
    """Parts of an axis, one behind the other."""
    sight, axis = call.sight("self"), call["dim"] % len(call.shape)
    parts, start = [], 0
    for part in call.results:
        parts.append(_taken(sight, axis, start + np.arange(part.shape[axis])))
        start += part.shape[axis]
    return parts


def unbind(call: Call) -> Sequence[Sight]:
    """Every place along an axis by itself."""
    sight = call.sight("self")
    axis = call["dim"] % len(sight.layout)
    return [without_axes(at_index(sight, axis, index), [axis]) for index in range(len(call.results))]


def concatenate(call: Call) -> Sight:
    """Tensors one behind the other. Channels see the union of them, as all that reads them will."""
    tensors = [tensor for tensor in call["tensors"] if tensor.dim() == len(call.shape)]  # torch skips empty ones
    axis = call["dim"] % len(call.shape)
    sights = [settled(call.find(tensor)) for tensor in tensors]
    seeing = [sight for sight in sights if sight.reaches]
    if all(sight.is_free(axis) for sight in seeing):
        return combined([with_axis(sight, axis, free_axis(call.shape[axis])) for sight in seeing], call.shape)
    direction = seeing[0].direction(axis)
    if len(seeing) > 1 or direction is None:
        return _scattered_union(seeing, axis, call.shape[axis])
    # Constants before and behind the places of the picture are a kind of padding.
    before = sum(tensor.shape[axis] for tensor in tensors[: sights.index(seeing[0])])
    places = np.arange(call.shape[axis]) - before
    return with_reach(seeing[0], axis, direction, shifted(seeing[0].reaches[direction], places))


def _scattered_union(sights: Sequence[Sight], axis: int, length: int) -> Sight:
    """Return tensors one behind the other along an axis of places, whose order is no longer followed."""
    parts = [disordered(sight, axis, length) for sight in sights]
    reaches = dict(parts[0].reaches)
    for part in parts[1:]:
        for direction, reach in part.reaches.items():
            own = reaches.get(direction, reach)
            larger = own if own.size >= reach.size else reach
            reaches[direction] = larger if own.scattered and reach.scattered else united(own, reach)
    return consistent(parts[0].layout, reaches)


def stack(call: Call) -> Sight:
    """Tensors side by side along a new axis."""
    axis = call["dim"] % len(call.shape)
    shape = (*call.shape[:axis], *call.shape[axis + 1 :])
    joined = combined([call.find(tensor) for tensor in call["tensors"]], shape)
    return Sight((*joined.layout[:axis], free_axis(call.shape[axis]), *joined.layout[axis:]), joined.reaches)


def flip(call: Call) -> Sight:
    """Axes in reverse order."""
    sight = call.sight("self")
    for axis in call["dims"]:
        sight = _taken(sight, axis % len(call.shape), np.arange(call.shape[axis])[::-1])
    return sight


def roll(call: Call) -> Sight:
    """Axes moved in a circle, taken for a shift on an endless picture.

    Swin moves the picture under its windows so, and masks the attention across the seam.
    """
    sight = settled(call.sight("self"))
    for shift, axis in zip(call["shifts"], call["dims"], strict=False):
        direction = sight.direction(axis)
        if direction is not None:
            places = np.arange(call.shape[axis]) - shift
            sight = with_reach(sight, axis, direction, shifted(sight.reaches[direction], places))
        elif not sight.is_free(axis):
            sight = disordered(sight, axis, call.shape[axis])
    return sight if call["dims"] else anywhere(call.shape, [sight])


def index_select(call: Call) -> Sight:
    """Elements of an axis by their numbers."""
    if call.sight("index").reaches:
        return anywhere(call.shape, call.sights())
    return _indexed(call.sight("self"), call["dim"] % len(call.shape), call["index"])


def index(call: Call) -> Sight:
    """Elements by tensors of numbers, along one axis; more of them at once are not followed."""
    given = [(axis, item) for axis, item in enumerate(call["indices"]) if item is not None]
    simple = len(given) == 1 and given[0][1].dim() == 1 and given[0][1].dtype == torch.int64
    if not simple or call.find(given[0][1]).reaches:
        return anywhere(call.shape, call.sights())
    return _indexed(call.sight("self"), *given[0])


def _indexed(sight: Sight, axis: int, indices: Tensor) -> Sight:
    if sight.is_free(axis):
        return with_axis(sight, axis, free_axis(len(indices)))
    places = indices.detach().cpu().numpy().astype(np.int64) % sight.shape[axis]
    return _taken(sight, axis, places)


def restride(call: Call) -> Sight:
    """Another order in memory; global pooling of a channels-last tensor ends so."""
    sight = call.sight("self")
    if sight.shape != call.shape or not all(sight.is_free(axis) for axis in range(len(call.shape))):
        return anywhere(call.shape, [sight])
    return sight


def channel_shuffle(call: Call) -> Sight:
    """Channels in another order."""
    return call.sight("self")


RULES: dict[str, Rule] = {
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias", "view_as", "flatten", "unflatten"), reshape),
    "unsqueeze": unsqueeze,
    "squeeze": squeeze,
    "permute": permute,
    "transpose": transpose,
    "t": transpose,
    "numpy_T": transpose,
    "expand": expand,
    "broadcast_to": expand,
    "repeat": repeat,
    "slice": slices,
    "select": select,
    "split": split,
    "split_with_sizes": split,
    "chunk": split,
    "unbind": unbind,
    "cat": concatenate,
    "stack": stack,
    "flip": flip,
    "roll": roll,
    "index_select": index_select,
    "index": index,
    "as_strided_": restride,
    "channel_shuffle": channel_shuffle,
    "native_channel_shuffle": channel_shuffle,
}
"""By the operator's name without namespace and overload."""

"""Operations that slide along axes: convolution, pooling, padding and resizing."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from phosphene_server.models.receptive_fields.layout import free_axis
from phosphene_server.models.receptive_fields.reach import Integers, Reach, convolved, gathered, transposed
from phosphene_server.models.receptive_fields.rules.call import Call, Rule
from phosphene_server.models.receptive_fields.sight import (
    Sight,
    anywhere,
    disordered,
    mixed,
    reduced,
    settled,
    with_axis,
    with_reach,
)

MOST_DENOMINATOR = 1000
"""A scale that is written as a floating-point number is taken for the nearest fraction up to this denominator."""


def slide(
    sight: Sight, axis: int, length: int, move: Callable[..., Reach], /, *arguments: Any, **options: Any
) -> Sight:
    """Return a tensor whose positions along an axis read those of another; `length`: how many there are."""
    if sight.is_free(axis):
        return with_axis(sight, axis, free_axis(length))
    direction = sight.direction(axis)
    if direction is None:
        return disordered(mixed(sight, [axis]), axis, length)
    return with_reach(sight, axis, direction, move(sight.reaches[direction], *arguments, **options))


def convolution(call: Call) -> Sight:
    """A convolution of any number of axes, transposed or not, with weights that do not depend on the picture."""
    weight = call["weight"]
    if call.sight("weight").reaches:
        return anywhere(call.shape, call.sights())
    sight = settled(call.sight("input"))
    if not sight.is_free(1):
        sight = reduced(sight, [1], keep=True)
    sight = with_axis(sight, 1, free_axis(call.shape[1]))
    spatial = weight.dim() - 2
    stride, padding, dilation = (_each(call[name], spatial) for name in ("stride", "padding", "dilation"))
    moving = transposed if call["transposed"] else convolved
    for place in range(spatial):
        options = {
            "length": call.shape[2 + place],
            "kernel": weight.shape[2 + place],
            "stride": stride[place],
            "before": padding[place],
            "dilation": dilation[place],
        }
        sight = slide(sight, 2 + place, call.shape[2 + place], moving, **options)
    return sight


def pooling(axes: int) -> Rule:
    """Make the rule of a pool of the last axes."""

    def rule(call: Call) -> Sight:
        sight = settled(call.sight("self"))
        kernel = _each(call["kernel_size"], axes)
        stride = _each(call["stride"] or call["kernel_size"], axes)
        padding = _each(call["padding"], axes)
        dilation = _each(call.arguments.get("dilation", 1), axes)
        for place in range(axes):
            axis = len(call.shape) - axes + place
            options = {
                "length": call.shape[axis],
                "kernel": kernel[place],
                "stride": stride[place],
                "before": padding[place],
                "dilation": dilation[place],
            }
            sight = slide(sight, axis, call.shape[axis], convolved, **options)
        return sight

    return rule


def adaptive_pooling(axes: int) -> Rule:
    """Make the rule of a pool of the last axes to a given size; a window over all of an axis sees all."""

    def rule(call: Call) -> Sight:
        sight = settled(call.sight("self"))
        for axis in range(len(call.shape) - axes, len(call.shape)):
            length, before = call.shape[axis], sight.shape[axis]
            if length == 1 and before > 1:
                sight = reduced(sight, [axis], keep=True)
            else:
                sight = slide(sight, axis, length, _adapted, length)
        return sight

    return rule


def _adapted(reach: Reach, length: int) -> Reach:
    """Position o reads from floor(o * n / length) up to ceil((o + 1) * n / length), without the latter."""
    count = len(reach)
    ratio = Fraction(count, length)
    places = np.arange(length)
    first, behind = places * count // length, -(-(places + 1) * count // length)
    taps = first + np.arange(int((behind - first).max()))[:, None]
    offset = (ratio - 1) / 2
    return gathered(reach, taps, stride=ratio, period=ratio.denominator, offset=offset, valid=taps < behind)


def padding(call: Call) -> Sight:
    """Padding of any kind, and cropping where an amount is negative. Amounts are given from the last axis on.

    Reflected or repeated rows are taken for those that an endless picture would have there.
    """
    sight = settled(call.sight("self"))
    amounts = call.arguments["pad"] if "pad" in call.arguments else call["padding"]
    for place in range(len(amounts) // 2):
        axis, before, after = len(call.shape) - 1 - place, amounts[2 * place], amounts[2 * place + 1]
        if before or after:
            places = np.arange(call.shape[axis]) - before
            sight = slide(sight, axis, call.shape[axis], shifted, places)
    return sight


def shifted(reach: Reach, places: Integers) -> Reach:
    """Return positions that copy a position each, at an even distance; outside there is more of an endless picture."""
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    return gathered(reach, places[None], stride=Fraction(step), period=1, offset=Fraction(int(places[0])))


def upsampling(mode: str, *, antialias: bool = False) -> Rule:
    """Make the rule of an interpolation: `nearest`, `nearest-exact`, `linear` or `cubic`."""

    def rule(call: Call) -> Sight:
        sight = settled(call.sight("self" if "self" in call.arguments else "input"))
        corners = bool(call.arguments.get("align_corners"))
        axes = len(call.shape) - 2
        scales = _scales(call, axes)
        for place in range(axes):
            axis = 2 + place
            before, length = sight.shape[axis], call.shape[axis]
            ratio = _ratio(before, length, scales[place], corners=corners)
            options = {"mode": mode, "corners": corners, "antialias": antialias}
            sight = slide(sight, axis, length, resampled, length, ratio, **options)
        return sight

    return rule


def _scales(call: Call, axes: int) -> list[float | None]:
    """Return the scale of each axis where the operation keeps it."""
    if call.arguments.get("scale_factors"):
        return list(call["scale_factors"])
    names = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}[axes]
    return [call.arguments.get(name) for name in names]


def _ratio(before: int, length: int, scale: float | None, *, corners: bool) -> Fraction:
    """Return how many positions of the input lie between two of the output."""
    if corners:
        return Fraction(before - 1, length - 1) if length > 1 else Fraction(0)
    if scale:
        return 1 / Fraction(scale).limit_denominator(MOST_DENOMINATOR)
    return Fraction(before, length)


def resampled(reach: Reach, length: int, ratio: Fraction, *, mode: str, corners: bool, antialias: bool) -> Reach:
    """Return the reach behind an interpolation.

    Args:
        reach: What is interpolated.
        length: The number of positions of the result.
        ratio: Positions of the input per position of the result.
        mode: `nearest`, `nearest-exact`, `linear` or `cubic`.
        corners: Whether the first and last positions of both lie on each other, instead of their borders.
        antialias: Whether shrinking widens the window.
    """
    if ratio == 0 or len(reach) == 1:
        return gathered(
            reach,
            np.zeros((1, length), dtype=np.int64),
            stride=ratio or Fraction(1, length),
            period=length,
            offset=Fraction(0),
        )
    shift = Fraction(0) if corners or mode == "nearest" else (ratio - 1) / 2
    if mode == "nearest-exact":
        shift = ratio / 2
    centres = [ratio * place + shift for place in range(length)]
    if mode.startswith("nearest"):
        taps = np.array([[math.floor(centre) for centre in centres]])
        valid = None
    else:
        reaching = (1 if mode == "linear" else 2) * (max(ratio, Fraction(1)) if antialias else 1)
        firsts = [math.floor(centre - reaching) + 1 for centre in centres]
        taps = np.array(firsts) + np.arange(math.ceil(2 * reaching) + 1)[:, None]
        valid = np.array([[abs(int(tap) - c) < reaching for tap, c in zip(row, centres, strict=True)] for row in taps])
        if not antialias:
            # At the places of the input the interpolation is the input itself.
            exact = np.array([centre.denominator == 1 for centre in centres])
            valid &= ~exact | (taps == np.array([math.floor(centre) for centre in centres]))
    return gathered(
        reach, taps, stride=ratio, period=ratio.denominator, offset=_middle(ratio, mode, shift), valid=valid
    )


def _middle(ratio: Fraction, mode: str, shift: Fraction) -> Fraction:
    """Return the place of position 0 in the input."""
    return (ratio - 1) / 2 if mode.startswith("nearest") else shift


def pixel_shuffle(call: Call) -> Sight:
    """Depth to space: every position becomes a block of positions, read from other channels."""
    factor = call["upscale_factor"]
    sight = reduced(settled(call.sight("self")), [-3 % len(call.shape)], keep=True)
    for axis in range(len(call.shape) - 2, len(call.shape)):
        length = call.shape[axis]
        sight = slide(sight, axis, length, _enlarged, length, factor)
    return with_axis(sight, len(call.shape) - 3, free_axis(call.shape[-3]))


def _enlarged(reach: Reach, length: int, factor: int) -> Reach:
    places = np.arange(length)[None] // factor
    offset = Fraction(1 - factor, 2 * factor)
    return gathered(reach, places, stride=Fraction(1, factor), period=factor, offset=offset)


def pixel_unshuffle(call: Call) -> Sight:
    """Space to depth; each position is said to see its whole block, although a channel sees one place of it."""
    factor = call["downscale_factor"]
    sight = settled(call.sight("self"))
    for axis in range(len(call.shape) - 2, len(call.shape)):
        options = {"length": call.shape[axis], "kernel": factor, "stride": factor, "before": 0, "dilation": 1}
        sight = slide(sight, axis, call.shape[axis], convolved, **options)
    return with_axis(sight, len(call.shape) - 3, free_axis(call.shape[-3]))


def _each(value: Any, axes: int) -> Sequence[int]:
    """Return one number per axis."""
    values = [value] if isinstance(value, int) else list(value)
    return values * axes if len(values) == 1 else values


RULES: dict[str, Rule] = {
    "convolution": convolution,
    **{f"max_pool{axes}d": pooling(axes) for axes in (1, 2, 3)},
    **{f"max_pool{axes}d_with_indices": pooling(axes) for axes in (2, 3)},
    **{f"avg_pool{axes}d": pooling(axes) for axes in (1, 2, 3)},
    **{f"_adaptive_avg_pool{axes}d": adaptive_pooling(axes) for axes in (2, 3)},
    **{f"adaptive_avg_pool{axes}d": adaptive_pooling(axes) for axes in (1, 2, 3)},
    **{f"adaptive_max_pool{axes}d": adaptive_pooling(axes) for axes in (1, 2, 3)},
    "constant_pad_nd": padding,
    **{f"{kind}_pad{axes}d": padding for kind in ("reflection", "replication") for axes in (1, 2, 3)},
    "_pad_circular": padding,
    **{f"upsample_nearest{axes}d": upsampling("nearest") for axes in (1, 2, 3)},
    **{f"_upsample_nearest_exact{axes}d": upsampling("nearest-exact") for axes in (1, 2, 3)},
    "upsample_linear1d": upsampling("linear"),
    "upsample_bilinear2d": upsampling("linear"),
    "upsample_trilinear3d": upsampling("linear"),
    "upsample_bicubic2d": upsampling("cubic"),
    "_upsample_bilinear2d_aa": upsampling("linear", antialias=True),
    "_upsample_bicubic2d_aa": upsampling("cubic", antialias=True),
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
}
"""By the operator's name without namespace and overload."""

"""The random changes that a picture must survive at each step.

Without them the ascent finds patterns that excite the network and show nothing: they hang on single pixels. What
survives shifts, rotations, changes of size and noise is what the network looks for in the world. One file for each
transform, each with one factory; `chain.py` composes them.

References:
    Mordvintsev, Olah and Tyka, "Inceptionism", 2015 (jitter); Olah et al. 2017, "The enemy of feature visualization".
"""

from collections.abc import Callable, Mapping
from typing import Any

from phosphene_server.maximization.transforms.chain import Chain, View, compose
from phosphene_server.maximization.transforms.jitter import jitter
from phosphene_server.maximization.transforms.noise import noise
from phosphene_server.maximization.transforms.pad import pad
from phosphene_server.maximization.transforms.resize import resize
from phosphene_server.maximization.transforms.rotate import rotate
from phosphene_server.maximization.transforms.sampling import sample
from phosphene_server.maximization.transforms.scale import scale
from phosphene_server.maximization.transforms.transform import (
    Border,
    Canvas,
    Geometric,
    Photometric,
    Resized,
    Transform,
)
from phosphene_server.values import maximization as values

__all__ = [
    "TRANSFORMS",
    "Border",
    "Canvas",
    "Chain",
    "Geometric",
    "Photometric",
    "Resized",
    "Transform",
    "View",
    "compose",
    "jitter",
    "make_chain",
    "noise",
    "pad",
    "resize",
    "rotate",
    "sample",
    "scale",
]

TRANSFORMS: Mapping[str, Callable[[Any], Transform]] = {
    "jitter": lambda value: jitter(pixels=value.pixels, fraction=value.fraction),
    "scale": lambda value: scale(minimum=value.minimum, maximum=value.maximum),
    "rotate": lambda value: rotate(degrees=value.degrees),
    "noise": lambda value: noise(standard_deviation=value.standard_deviation),
    "pad": lambda value: pad(pixels=value.pixels, border=value.border),
    "resize": lambda value: resize(size=value.size),
}
"""The kind of a value, and how the transform is made of it."""


def make_chain(value: values.Transforms) -> Chain:
    """Make the chain of transforms that a request describes."""
    return compose([TRANSFORMS[item.kind](item) for item in value.items])

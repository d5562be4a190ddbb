"""The data: pictures of 24 classes, drawn when they are needed.

A picture is a background and one pattern or thing in another colour, both with a cloudy surface, the background of
things with litter on it; then pixel noise. Each is drawn from the generator that is passed in and from nothing else.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from training.shapes import outlines, textures
from training.shapes.canvas import Canvas, blank_canvas, coverage
from training.shapes.colours import HUES, clouds, named_pair, pair
from training.shapes.sampling import chance, uniform

SIZE = 96
"""Height and width of the pictures that the network is trained on, in pixels."""

TEXTURES: dict[str, Callable[[Canvas], Tensor]] = {
    "horizontal": textures.horizontal,
    "vertical": textures.vertical,
    "rising": textures.rising,
    "falling": textures.falling,
    "checkerboard": textures.checkerboard,
    "dots": textures.dots,
    "bricks": textures.bricks,
    "honeycomb": textures.honeycomb,
    "zigzag": textures.zigzag,
    "rings": textures.rings,
    "spiral": textures.spiral,
    "rays": textures.rays,
}
THINGS: dict[str, Callable[[Canvas], Tensor]] = {
    "star": outlines.star,
    "cross": outlines.cross,
    "triangle": outlines.triangle,
    "square": outlines.square,
    "arrow": outlines.arrow,
    "disc": outlines.disc,
    "heart": outlines.heart,
    "crescent": outlines.crescent,
}
CLASSES: tuple[str, ...] = (*TEXTURES, *THINGS, *HUES)
"""The names of the classes; a label is a place in this tuple."""

_CHUNK = 64  # pictures drawn at once: keeps the intermediate fields in the processor's cache


def draw_class(name: str, count: int, generator: torch.Generator, size: int = SIZE) -> Tensor:
    """Pictures of one class.

    Args:
        name: one of `CLASSES`.
        count: how many pictures.
        generator: the random stream; the same state draws the same pictures.
        size: height and width in pixels.

    Returns:
        Float32 RGB in [0, 1], shape (picture, 3, size, size).

    Raises:
        ValueError: there is no such class; the message lists those that there are.
    """
    if name not in CLASSES:
        raise ValueError(f"expected one of {', '.join(CLASSES)}, got {name!r}")
    canvas = blank_canvas(count, size, generator)
    softness = uniform(count, 1, 2.5, generator)
    back, front = (
        named_pair(name, count, generator) if name in HUES else pair(count, 0.7 if name in TEXTURES else 0.4, generator)
    )
    surface = clouds(count, size, generator)
    back = back + surface * uniform(count, 0, 0.14, generator)[:, None]
    front = front + surface.flip(-1) * uniform(count, 0, 0.08, generator)[:, None]
    if name in TEXTURES:
        distance = TEXTURES[name](canvas)
    else:
        back = _littered(back, canvas, softness)
        distance = THINGS.get(name, outlines.blobs)(canvas)
    mask = coverage(distance, softness if name not in HUES else 8.0)[:, None]
    picture = back + (front - back) * mask
    noise = torch.randn(picture.shape, generator=generator) * uniform(count, 0, 0.07, generator)[:, None]
    return (picture + noise).clamp(0, 1)


def draw_batch(labels: Tensor, generator: torch.Generator, size: int = SIZE) -> Tensor:
    """Pictures for labels in any order: int64 (picture,) to float32 RGB in [0, 1], (picture, 3, size, size)."""
    pictures = torch.empty(len(labels), 3, size, size)
    for label in torch.unique(labels).tolist():
        name = CLASSES[label]
        for places in torch.split((labels == label).nonzero().flatten(), _CHUNK):
            pictures[places] = draw_class(name, len(places), generator, size)
    return pictures


def _littered(back: Tensor, canvas: Canvas, softness: Tensor) -> Tensor:
    """Up to four short strokes of random colours on the background, so that an edge alone does not make a thing."""
    width = canvas.across.shape[-1]
    for _ in range(4):
        stroke = canvas.moved(width / 2).turned(0, 180)
        half_length = width * uniform(canvas.count, 0.02, 0.1, canvas.generator)
        beyond = (stroke.across.abs() - half_length).clamp(min=0)
        distance = torch.hypot(beyond, stroke.down) - uniform(canvas.count, 0.5, 2.5, canvas.generator)
        present = chance(canvas.count, 0.4, canvas.generator)
        colour = torch.rand(canvas.count, 3, 1, 1, generator=canvas.generator)
        back = back + (colour - back) * (present * coverage(distance, softness))[:, None]
    return back

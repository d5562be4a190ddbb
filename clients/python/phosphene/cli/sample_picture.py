"""The picture to which the demo applies a kernel: a lighthouse at dusk, drawn here, so it belongs to nobody else.

It has what kernels answer to: gradients (the sky), textures (the water, the bricks), straight edges at several angles
(the tower, the sails) and curved ones (the sun, the hills). Coordinates are shares of the height, from the top left.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 480, 320
_SCALE = 3  # drawn larger and made smaller, which smooths the edges
_HORIZON = 0.62
_SUN = (0.94, 0.47)  # across, down

_Field = NDArray[np.float64]
_Colour = tuple[int, int, int]
_Point = tuple[float, float]


def sample_picture() -> Image.Image:
    """Draw the picture: RGB, 480 by 320 pixels, the same at every call."""
    across, down = _coordinates()
    scene = _sky(across, down)
    scene = _hills(scene, across, down)
    scene = np.where((down > _HORIZON)[..., None], _water(across, down), scene)
    picture = Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8), "RGB")
    _draw_boat(picture, 1.16, 0.70)
    _draw_rock(picture)
    _draw_lighthouse(picture, 0.40)
    return picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _coordinates() -> tuple[_Field, _Field]:
    rows, columns = np.mgrid[0 : HEIGHT * _SCALE, 0 : WIDTH * _SCALE]
    unit = HEIGHT * _SCALE
    return columns / unit, rows / unit


def _blend(share: _Field, low: _Colour, high: _Colour) -> _Field:
    """Colours from `low` (share 0) to `high` (share 1)."""
    weight: _Field = np.clip(share, 0, 1)[..., None]
    return np.array(low, np.float64) * (1 - weight) + np.array(high, np.float64) * weight


def _sky(across: _Field, down: _Field) -> _Field:
    """Blue above, orange at the horizon, with a sun and bands of cloud."""
    upper = _blend(down / 0.38, (38, 62, 118), (214, 134, 128))
    sky = np.where((down < 0.38)[..., None], upper, _blend((down - 0.38) / 0.24, (214, 134, 128), (255, 206, 128)))
    streaks = np.sin(26 * down + 2.2 * np.sin(3.1 * across + 5 * down)) * np.sin(2.3 * across + 9 * down)
    sky = sky + 26 * np.clip(streaks - 0.25, 0, 1)[..., None] * np.array([1.0, 0.8, 0.75])
    distance = np.hypot(across - _SUN[0], down - _SUN[1])
    sky = sky + 90 * np.exp(-distance / 0.16)[..., None] * np.array([1.0, 0.75, 0.35])
    return np.where((distance < 0.085)[..., None], np.array([255.0, 240.0, 196.0]), sky)


def _hills(scene: _Field, across: _Field, down: _Field) -> _Field:
    """Three ridges, the farther the paler."""
    ridges: Sequence[tuple[float, float, float, _Colour]] = (
        (0.53, 0.050, 3.0, (158, 112, 136)),
        (0.57, 0.040, 4.7, (112, 84, 120)),
        (0.60, 0.030, 7.9, (72, 62, 98)),
    )
    for base, swing, frequency, colour in ridges:
        crest = base - swing * (
            np.sin(frequency * across + 9 * base) + 0.45 * np.sin(2.7 * frequency * across + 40 * base)
        )
        scene = np.where((down > crest)[..., None], np.asarray(colour, dtype=float), scene)
    return scene


def _water(across: _Field, down: _Field) -> _Field:
    """Waves that grow towards the viewer, and the path of the sun."""
    depth = np.clip((down - _HORIZON) / (1 - _HORIZON), 1e-3, 1)
    phase = 34 * np.log(depth + 0.06)
    waves = np.sin(phase + 1.8 * np.sin(7 * across + 0.35 * phase) + 0.9 * np.sin(17 * across - phase))
    water: _Field = _blend(depth, (196, 140, 128), (24, 52, 92)) + 20 * waves[..., None]
    path = np.exp(-(((across - _SUN[0]) / (0.05 + 0.17 * depth)) ** 2)) * np.clip(waves + 0.15, 0, 1)
    water += 150 * path[..., None] * np.array([1.0, 0.82, 0.5])
    return water


def _pixels(points: Sequence[_Point]) -> list[_Point]:
    unit = HEIGHT * _SCALE
    return [(across * unit, down * unit) for across, down in points]


def _draw_boat(picture: Image.Image, across: float, down: float) -> None:
    draw = ImageDraw.Draw(picture)
    draw.polygon(
        _pixels(
            [(across - 0.07, down), (across + 0.08, down), (across + 0.05, down + 0.03), (across - 0.05, down + 0.03)]
        ),
        fill=(70, 40, 44),
    )
    draw.polygon(
        _pixels([(across, down - 0.19), (across, down - 0.01), (across + 0.075, down - 0.01)]), fill=(250, 240, 226)
    )
    draw.polygon(
        _pixels([(across - 0.008, down - 0.16), (across - 0.008, down - 0.01), (across - 0.06, down - 0.01)]),
        fill=(216, 92, 74),
    )


def _draw_rock(picture: Image.Image) -> None:
    """A cliff at the left, with cracks."""
    draw = ImageDraw.Draw(picture)
    outline = [
        (0.0, 0.70),
        (0.10, 0.665),
        (0.22, 0.675),
        (0.34, 0.66),
        (0.52, 0.67),
        (0.63, 0.672),
        (0.69, 0.74),
        (0.73, 0.84),
        (0.81, 1.0),
        (0.0, 1.0),
    ]
    draw.polygon(_pixels(outline), fill=(52, 46, 62))
    generator = np.random.default_rng(7)
    for _ in range(150):
        left, top = generator.uniform(0, 0.76), generator.uniform(0.69, 1.0)
        if left > 0.55 + 0.75 * (top - 0.70):
            continue
        length = generator.uniform(0.015, 0.06)
        shade = int(generator.uniform(28, 96))
        bend = (left + 0.5 * length, top + 0.35 * length)
        draw.line(
            _pixels([(left, top), bend, (left + length, top + 0.1 * length)]),
            fill=(shade, shade - 4, shade + 12),
            width=_SCALE,
        )


def _draw_lighthouse(picture: Image.Image, centre: float) -> None:
    """A striped tower of bricks, its gallery, lantern and roof, and a hut beside it."""
    draw = ImageDraw.Draw(picture)
    top, bottom = 0.20, 0.665
    courses = 31
    for course in range(courses):
        upper = top + (bottom - top) * course / courses
        lower = top + (bottom - top) * (course + 1) / courses
        half_upper, half_lower = _half_width(upper, top, bottom), _half_width(lower, top, bottom)
        red = (course // 4) % 2 == 0
        colour = (196, 58, 52) if red else (244, 236, 224)
        draw.polygon(
            _pixels(
                [
                    (centre - half_upper, upper),
                    (centre + half_upper, upper),
                    (centre + half_lower, lower),
                    (centre - half_lower, lower),
                ]
            ),
            fill=colour,
        )
        joint = (160, 44, 42) if red else (214, 204, 194)
        draw.line(_pixels([(centre - half_lower, lower), (centre + half_lower, lower)]), fill=joint, width=_SCALE)
        for brick in range(-3, 4):
            offset = (brick + 0.5 * (course % 2)) * 0.022
            if abs(offset) < half_upper:
                draw.line(_pixels([(centre + offset, upper), (centre + offset, lower)]), fill=joint, width=_SCALE)
    draw.rectangle(_pixels([(centre - 0.062, 0.185), (centre + 0.062, 0.203)]), fill=(44, 40, 54))
    draw.rectangle(_pixels([(centre - 0.036, 0.115), (centre + 0.036, 0.185)]), fill=(255, 226, 140))
    for bar in (-0.036, -0.012, 0.012, 0.036):
        draw.line(_pixels([(centre + bar, 0.115), (centre + bar, 0.185)]), fill=(44, 40, 54), width=2 * _SCALE)
    draw.polygon(_pixels([(centre - 0.05, 0.117), (centre, 0.055), (centre + 0.05, 0.117)]), fill=(120, 34, 40))
    for down in (0.30, 0.43, 0.56):
        draw.rectangle(_pixels([(centre - 0.011, down), (centre + 0.011, down + 0.036)]), fill=(40, 44, 66))
    _draw_hut(draw, centre + 0.075)


def _half_width(down: float, top: float, bottom: float) -> float:
    """The tower narrows upwards."""
    return 0.043 + 0.027 * (down - top) / (bottom - top)


def _draw_hut(draw: ImageDraw.ImageDraw, left: float) -> None:
    draw.rectangle(_pixels([(left, 0.60), (left + 0.14, 0.672)]), fill=(232, 220, 204))
    draw.polygon(
        _pixels([(left - 0.015, 0.602), (left + 0.03, 0.555), (left + 0.11, 0.555), (left + 0.155, 0.602)]),
        fill=(92, 60, 66),
    )
    draw.rectangle(_pixels([(left + 0.02, 0.622), (left + 0.05, 0.65)]), fill=(255, 214, 120))
    draw.rectangle(_pixels([(left + 0.085, 0.622), (left + 0.115, 0.672)]), fill=(86, 58, 60))

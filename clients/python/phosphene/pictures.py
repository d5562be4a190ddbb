"""Pillow pictures: what the service's bytes become, and grids and animations made of several."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image


def decode(data: bytes) -> Image.Image:
    """The picture in the bytes of a PNG, JPEG or WebP file, wholly read; colours of a palette become RGB."""
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture.convert("RGB") if picture.mode == "P" else picture


def encode_png(picture: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def grid(pictures: Sequence[Image.Image], *, columns: int | None = None, gap: int = 4) -> Image.Image:
    """Pictures in rows, on a transparent ground.

    Args:
        pictures: One or more; each cell is as large as the largest of them.
        columns: Pictures in a row. None: as many as make the grid square, ceil(sqrt(count)).
        gap: Pixels between two cells.
    """
    columns = columns or math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    width = max(picture.width for picture in pictures)
    height = max(picture.height for picture in pictures)
    sheet = Image.new("RGBA", (columns * (width + gap) - gap, rows * (height + gap) - gap))
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet.paste(picture.convert("RGBA"), (column * (width + gap), row * (height + gap)))
    return sheet


def save_animation(pictures: Sequence[Image.Image], path: Path | str, *, seconds_per_frame: float = 0.12) -> None:
    """Write an animated WebP or GIF, as the file name says, that shows the last picture for two seconds and repeats."""
    durations = [round(1000 * seconds_per_frame)] * (len(pictures) - 1) + [2000]
    first, *others = pictures
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0, quality=80)

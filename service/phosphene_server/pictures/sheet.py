"""Many pictures with their labels as one picture: a contact sheet."""

import math
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

from phosphene_server.pictures.encoding import SIDE_LIMITS
from phosphene_server.pictures.grid import columns_for

_PAPER = (255, 255, 255)
_INK = (34, 34, 34)

_MARGIN = 1 / 16
"""The space around and between the tiles, as a share of the tile; `_MARGINS` says between how many pixels."""
_MARGINS = (2, 24)

_TEXT = 1 / 9
"""The size of the labels, as a share of the tile; `_TEXTS` says between how many pixels."""
_TEXTS = (10, 16)

_LABELLED = 24
"""The smallest tile that has a label, in pixels: three digits of the smallest text are 18 wide."""

_ELLIPSIS = "…"


@dataclass(frozen=True)
class _Layout:
    """Where things stand on a sheet, in pixels. A cell is a tile with the margin at its right and its label below."""

    rows: int
    columns: int
    tile: tuple[int, int]
    """The height and width of the largest picture, once scaled."""
    margin: int
    text: int
    """The size of the labels' font; 0: there are none."""

    @property
    def cell(self) -> tuple[int, int]:
        # A line of text is 1.2 times the size of its font; the label has the smallest margin above it.
        label = _MARGINS[0] + math.ceil(1.2 * self.text) if self.text else 0
        return self.tile[0] + label + self.margin, self.tile[1] + self.margin

    @property
    def size(self) -> tuple[int, int]:
        return self.rows * self.cell[0] + self.margin, self.columns * self.cell[1] + self.margin

    def corner(self, index: int) -> tuple[int, int]:
        row, column = divmod(index, self.columns)
        return self.margin + row * self.cell[0], self.margin + column * self.cell[1]


def compose_sheet(
    pictures: Sequence[NDArray[np.uint8]],
    labels: Sequence[str],
    *,
    columns: int | None,
    tile_size: int | None,
    maximum_pixels: int,
) -> NDArray[np.uint8]:
    """Lay pictures out in rows on white paper, each with its label below.

    A label that is wider than its tile loses its middle, for names of channels differ at their ends. Tiles that are
    narrower than 24 pixels have no labels. The tiles are made smaller than asked for where the sheet would have too
    many pixels or a side that JPEG or WebP cannot hold.

    Args:
        pictures: (height, width, 3) RGB each, at least one. They may differ in size.
        labels: One for each picture; where all are empty no room is left for them.
        columns: The pictures in a row; None: ceil(sqrt(N)).
        tile_size: The longer side of each picture on the sheet, in pixels, to which it is scaled; None: that of the
            largest picture.
        maximum_pixels: The most pixels of the sheet.

    Returns:
        The sheet, (height, width, 3).

    Raises:
        ValueError: there is not a label for every picture, or even tiles of one pixel make the sheet too large.
    """
    if len(pictures) != len(labels):
        raise ValueError(f"{len(pictures)} pictures and {len(labels)} labels")
    shapes = {picture.shape[:2] for picture in pictures}
    across = min(columns or columns_for(len(pictures)), len(pictures))
    wanted = tile_size or max(map(max, shapes))
    layout = _fitting(shapes, len(pictures), across, wanted, maximum_pixels, labelled=any(labels))
    sheet = PIL.Image.new("RGB", layout.size[::-1], _PAPER)
    side = max(layout.tile)
    for index, picture in enumerate(pictures):
        tile = _scaled(picture, side)
        top, left = layout.corner(index)
        sheet.paste(tile, (left + (layout.tile[1] - tile.width) // 2, top + (layout.tile[0] - tile.height) // 2))
    if layout.text:
        _write(sheet, labels, layout)
    return np.asarray(sheet)


def tile_on_sheet(
    picture: tuple[int, int], count: int, *, columns: int, tile_size: int, maximum_pixels: int
) -> tuple[int, int]:
    """Return the height and width that pictures of one size have on a sheet with labels.

    So each can be scaled down as soon as it is there: pictures of this size are laid out as they are.

    Args:
        picture: The height and width of each of them.
        count: How many there are, at most.
        columns: The pictures in a row.
        tile_size: The longer side that is wanted, in pixels.
        maximum_pixels: The most pixels of the sheet.

    Raises:
        ValueError: even tiles of one pixel make the sheet too large.
    """
    return _fitting({picture}, count, min(columns, count), tile_size, maximum_pixels, labelled=True).tile


def _fitting(
    shapes: set[tuple[int, ...]], count: int, columns: int, wanted: int, maximum_pixels: int, *, labelled: bool
) -> _Layout:
    """Return the layout with the largest tiles, up to the wanted ones, with which the sheet is small enough."""
    for side in range(wanted, 0, -1):
        layout = _layout(shapes, count, columns, side, labelled=labelled)
        if math.prod(layout.size) <= maximum_pixels and max(layout.size) <= min(SIDE_LIMITS.values()):
            return layout
    raise ValueError(f"{count} pictures do not fit on a sheet of {maximum_pixels:,} pixels")


def _layout(shapes: set[tuple[int, ...]], count: int, columns: int, side: int, *, labelled: bool) -> _Layout:
    scaled = [_scaled_size(shape, side) for shape in shapes]
    tile = max(height for height, _ in scaled), max(width for _, width in scaled)
    text = _between(side * _TEXT, _TEXTS) if labelled and tile[1] >= _LABELLED else 0
    return _Layout(math.ceil(count / columns), columns, tile, _between(side * _MARGIN, _MARGINS), text)


def _between(value: float, limits: tuple[int, int]) -> int:
    return min(max(round(value), limits[0]), limits[1])


def _scaled_size(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Return the height and width of a picture whose longer side is brought to a length."""
    longer = max(shape)
    return max(1, round(shape[0] * side / longer)), max(1, round(shape[1] * side / longer))


def _scaled(picture: NDArray[np.uint8], side: int) -> PIL.Image.Image:
    image = PIL.Image.fromarray(np.ascontiguousarray(picture))
    height, width = _scaled_size(picture.shape[:2], side)
    return image if image.size == (width, height) else image.resize((width, height), PIL.Image.Resampling.LANCZOS)


def _write(sheet: PIL.Image.Image, labels: Sequence[str], layout: _Layout) -> None:
    """Write each label in the middle below its tile."""
    # Pillow brings this font with it, so that sheets look the same on all machines.
    font = PIL.ImageFont.load_default(layout.text)
    assert isinstance(font, PIL.ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    drawing = PIL.ImageDraw.Draw(sheet)
    for index, label in enumerate(labels):
        top, left = layout.corner(index)
        place = (left + layout.tile[1] // 2, top + layout.tile[0] + _MARGINS[0])
        drawing.text(place, _shortened(label, font, layout.tile[1]), _INK, font, anchor="ma")


def _shortened(label: str, font: PIL.ImageFont.FreeTypeFont, width: int) -> str:
    """Return a label without as much of its middle as is too wide."""
    line = " ".join(label.split())
    if font.getlength(line) <= width:
        return line
    kept = bisect(range(1, len(line)), False, key=lambda count: font.getlength(_ends(line, count)) > width)
    return _ends(line, kept)


def _ends(line: str, characters: int) -> str:
    """Return so many characters of a line, of its beginning and of its end, with an ellipsis between them."""
    beginning = characters // 2
    end = line[len(line) - (characters - beginning) :]
    # Dots beside it would look like one longer ellipsis.
    return line[:beginning].rstrip(". ") + _ELLIPSIS + end.lstrip(". ")

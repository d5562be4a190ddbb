"""Grids of pictures with a caption below each, for people."""

import math
from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

_GROUND = (22, 22, 28)
_INK = (214, 214, 222)
_PAPER = (255, 255, 255)
_PAPER_INK = (34, 34, 34)
_NARROWEST_NUMBERED = 24
_MARGIN = 14
_CAPTION_HEIGHT = 26
_FONT_PIXELS = 15


def captioned_grid(
    pictures: Sequence[Image.Image], captions: Sequence[str], *, columns: int, side: int | None = None
) -> Image.Image:
    """Pictures of the same size in rows, each above its caption, on a dark ground that suits light and dark pages.

    Args:
        pictures: One or more.
        captions: As many.
        columns: Pictures in a row.
        side: The width to which each picture is enlarged, in pixels. None: as it is.
    """
    shown = [_enlarged(picture.convert("RGB"), side) for picture in pictures]
    width, height = shown[0].size
    rows = -(-len(shown) // columns)
    cell_width, cell_height = width + _MARGIN, height + _CAPTION_HEIGHT + _MARGIN // 2
    sheet = Image.new("RGB", (columns * cell_width + _MARGIN, rows * cell_height + _MARGIN), _GROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_PIXELS)
    for index, (picture, caption) in enumerate(zip(shown, captions, strict=True)):
        row, column = divmod(index, columns)
        left, top = _MARGIN + column * cell_width, _MARGIN + row * cell_height
        sheet.paste(picture, (left, top))
        draw.text((left + width / 2, top + height + _CAPTION_HEIGHT / 2), caption, fill=_INK, font=font, anchor="mm")
    return sheet


def numbered_sheet(pictures: Iterable[Image.Image], numbers: Sequence[int], *, columns: int, side: int) -> Image.Image:
    """Pictures of the same shape in rows, each above its number, on white paper: what the server's contact sheets show.

    Args:
        pictures: One or more, asked for one after the other.
        numbers: As many.
        columns: Pictures in a row.
        side: The longer side to which each picture is brought, in pixels. Those narrower than 24 have no numbers.
    """
    margin, text = min(max(round(side / 16), 2), 24), min(max(round(side / 9), 10), 16)
    shown = [ImageOps.contain(picture.convert("RGB"), (side, side), Image.Resampling.LANCZOS) for picture in pictures]
    width, height = shown[0].size
    rows, label = -(-len(shown) // columns), 2 + math.ceil(1.2 * text) if width >= _NARROWEST_NUMBERED else 0
    cell_width, cell_height = width + margin, height + label + margin
    sheet = Image.new("RGB", (columns * cell_width + margin, rows * cell_height + margin), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(text)
    for index, (picture, number) in enumerate(zip(shown, numbers, strict=True)):
        row, column = divmod(index, columns)
        left, top = margin + column * cell_width, margin + row * cell_height
        sheet.paste(picture, (left, top))
        if label:
            draw.text((left + width // 2, top + height + 2), str(number), fill=_PAPER_INK, font=font, anchor="ma")
    return sheet


def _enlarged(picture: Image.Image, side: int | None) -> Image.Image:
    if side is None or picture.width == side:
        return picture
    return picture.resize((side, round(picture.height * side / picture.width)), Image.Resampling.LANCZOS)

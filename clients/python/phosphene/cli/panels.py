"""Grids of pictures with a caption below each, for people."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_GROUND = (22, 22, 28)
_INK = (214, 214, 222)
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


def _enlarged(picture: Image.Image, side: int | None) -> Image.Image:
    if side is None or picture.width == side:
        return picture
    return picture.resize((side, round(picture.height * side / picture.width)), Image.Resampling.LANCZOS)

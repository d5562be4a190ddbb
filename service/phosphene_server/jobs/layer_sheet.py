"""The contact sheet of a layer: the finished pictures on one, each above the number of its channel."""

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from phosphene_server.errors import InvalidArgument
from phosphene_server.pictures.encoding import encode
from phosphene_server.pictures.grid import columns_for
from phosphene_server.pictures.sheet import compose_sheet, tile_on_sheet
from phosphene_server.values.image import ImageFormat, ImageSize
from phosphene_server.values.maximization import ContactSheet, ContactSheetOptions, LayerPicture

PIXEL_LIMIT = 16_000_000
"""The largest sheet, in pixels: 1024 pictures of 109 pixels with their numbers."""

BYTES_FOR_EACH_PIXEL = 4
"""No format takes more for three colours, not even of noise; the rest of the message is small beside it."""

USUAL_TILE = 128
FORMAT: ImageFormat = "png"


def complete_options(options: ContactSheetOptions, *, pictures: int, size: ImageSize) -> ContactSheetOptions:
    """Fill in what is unset, for so many pictures of a size."""
    return replace(
        options,
        columns=options.columns or columns_for(pictures),
        tile_size=options.tile_size or min(USUAL_TILE, max(size.height, size.width)),
        encoding=replace(options.encoding, format=options.encoding.format or FORMAT),
    )


def tile_size(options: ContactSheetOptions, *, pictures: int, size: ImageSize, message_bytes: int) -> ImageSize:
    """Return how large each picture can be on a sheet of so many that fits into a message.

    Raises:
        InvalidArgument: they do not fit at all.
    """
    columns, wanted = _completed(options)
    limit = min(PIXEL_LIMIT, message_bytes // BYTES_FOR_EACH_PIXEL)
    shape = (size.height, size.width)
    try:
        tile = tile_on_sheet(shape, pictures, columns=columns, tile_size=wanted, maximum_pixels=limit)
    except ValueError as error:
        expected = f"columns with which {pictures} pictures fit on a sheet of {limit:,} pixels, or fewer channels"
        raise InvalidArgument("sheet.columns", str(columns), expected) from error
    return ImageSize(*tile)


def contact_sheet(pictures: Sequence[LayerPicture], options: ContactSheetOptions, tile: ImageSize) -> ContactSheet:
    """Draw the sheet. This takes a while, about 4 ms for each picture: call it in a thread.

    Args:
        pictures: One or more, in the order in which they stand on it.
        options: How it is laid out, completed.
        tile: The size of each picture on it. They are decoded one after the other, so no more than this is held.
    """
    columns, wanted = _completed(options)
    side = max(tile.height, tile.width)
    sheet = compose_sheet(
        [_decoded(picture, tile) for picture in pictures],
        [str(picture.channel) for picture in pictures],
        columns=columns,
        tile_size=side,
        maximum_pixels=PIXEL_LIMIT,
    )
    return ContactSheet(
        image=encode(sheet, options.encoding, field="sheet.encoding"),
        channels=tuple(picture.channel for picture in pictures),
        columns=min(columns, len(pictures)),
        tile=tile,
        reduced=side < wanted,
    )


def _completed(options: ContactSheetOptions) -> tuple[int, int]:
    """Return the columns and the size of the tiles."""
    assert options.columns is not None
    assert options.tile_size is not None
    return options.columns, options.tile_size


def _decoded(picture: LayerPicture, tile: ImageSize) -> NDArray[np.uint8]:
    with PIL.Image.open(io.BytesIO(picture.image.data)) as file:
        shown = file.convert("RGB")
    size = (tile.width, tile.height)
    return np.asarray(shown if shown.size == size else shown.resize(size, PIL.Image.Resampling.LANCZOS))

"""What is told about a sight: one size, and where the positions lie, as the layer table shows them."""

from phosphene_server.models.receptive_fields.layout import Direction
from phosphene_server.models.receptive_fields.reach import Reach
from phosphene_server.models.receptive_fields.sight import Sight, settled
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import PixelGrid, ReceptiveField


def describe(sight: Sight, picture: ImageSize) -> ReceptiveField | None:
    """Return the receptive field of a layer; None where it sees nothing of the picture.

    Args:
        sight: What its elements see; the largest of their fields is told.
        picture: The size of the model's input.
    """
    if set(sight.reaches) != {"row", "column"}:
        return None
    settled_sight = settled(sight)
    rows, columns = settled_sight.reaches["row"], settled_sight.reaches["column"]
    return ReceptiveField(
        height=picture.height if rows.is_whole else rows.size,
        width=picture.width if columns.is_whole else columns.size,
        whole_picture=rows.is_whole and columns.is_whole,
        grid=_grid(settled_sight, rows, columns),
    )


def _grid(sight: Sight, rows: Reach, columns: Reach) -> PixelGrid | None:
    """Return where the positions lie, None where no axes are the rows and the columns."""
    directions: set[Direction | None] = {sight.direction(axis) for axis in range(len(sight.layout))}
    if not {"row", "column"} <= directions:
        return None
    return PixelGrid(
        row_stride=float(rows.stride),
        column_stride=float(columns.stride),
        row_offset=float(rows.centre),
        column_offset=float(columns.centre),
    )

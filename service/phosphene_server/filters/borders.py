"""What stands beyond the border of a picture."""

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.values.kernel import PaddingMode


def pad(picture: Tensor, padding: PaddingMode, *, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Surround a picture with a border, which may be wider than the picture itself, as in SciPy.

    Args:
        picture: (channel, height, width).
        padding: `zeros`, `reflect` (SciPy calls it mirror), `replicate` (nearest) or `circular` (wrap).
        rows: The rows added above and below.
        columns: The columns added at the left and at the right.
    """
    if padding == "zeros":
        return F.pad(picture, (*columns, *rows))
    height, width = picture.shape[1:]
    row_sources = _sources(height, padding, border=rows, device=picture.device)
    column_sources = _sources(width, padding, border=columns, device=picture.device)
    return picture.index_select(1, row_sources).index_select(2, column_sources)


def _sources(length: int, padding: PaddingMode, *, border: tuple[int, int], device: torch.device) -> Tensor:
    """Return the position inside the picture that each position of the bordered axis repeats."""
    positions = torch.arange(-border[0], length + border[1], device=device)
    if padding == "replicate":
        return positions.clamp(0, length - 1)
    if padding == "circular":
        return positions.remainder(length)
    # Reflected: to and fro between the two outermost pixels, with a period of twice their distance.
    period = max(2 * (length - 1), 1)
    phase = positions.remainder(period)
    return torch.minimum(phase, period - phase) if length > 1 else torch.zeros_like(positions)

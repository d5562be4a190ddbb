"""Margins."""

from phosphene_server.maximization.transforms.transform import Border, Canvas


def pad(*, pixels: int, border: Border) -> Canvas:
    """Return a canvas that is larger than the picture by a number of pixels on each side."""
    return Canvas(pixels, border)

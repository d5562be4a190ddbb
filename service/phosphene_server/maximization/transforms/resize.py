"""The size at which the network sees pictures."""

from phosphene_server.maximization.transforms.transform import Resized
from phosphene_server.values.image import ImageSize


def resize(*, size: ImageSize) -> Resized:
    """Return a size at which the network sees the picture with its margins, whatever size the picture itself has.

    It costs no resampling of its own: the one sampling of the geometric transforms is read at more or fewer places. It
    is bilinear; at less than half the size of the picture it skips pixels.
    """
    return Resized(size)

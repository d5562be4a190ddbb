"""Pictures as a caller may give them, made into image messages."""

import io
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from phosphene._wire.building import build, invalid
from phosphene._wire.enumerations import decode_word, encode_word
from phosphene._wire.tensors import encode_tensor
from phosphene.errors import InvalidArgument
from phosphene.kernels import Picture
from phosphene.v1 import image_pb2

ImageFormat = Literal["png", "jpeg", "webp"]

# What a PNG file holds as it is; other modes become RGB.
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})


def encode_images(images: Picture | Iterable[Picture]) -> list[image_pb2.Image]:
    """The messages of one picture, of several, or of an array with a batch axis in front.

    Raises:
        InvalidArgument: something is not a picture.
        OSError: a file cannot be read.
    """
    if isinstance(images, np.ndarray) and images.ndim == 4:
        images = list(images)
    if isinstance(images, Image.Image | np.ndarray | bytes | str | PathLike):
        images = [images]
    if not isinstance(images, Iterable):
        raise _not_a_picture(images, "images")
    return [_encode_image(image, f"images[{index}]") for index, image in enumerate(images)]


def encode_encoding(format_name: str | None, quality: int | None, *, field: str) -> image_pb2.ImageEncoding | None:
    """The message of how pictures are compressed; None when nothing was chosen."""
    if format_name is None and quality is None:
        return None
    number = encode_word(image_pb2.ImageFormat.DESCRIPTOR, format_name, field=f"{field}.format")
    return build(image_pb2.ImageEncoding, field, format=number, quality=quality)


def encode_size(size: tuple[int, int] | None, *, field: str) -> image_pb2.ImageSize | None:
    """The message of (height, width); None when nothing was chosen.

    Raises:
        InvalidArgument: it is no pair of numbers.
    """
    if size is None:
        return None
    try:
        height, width = size
    except (TypeError, ValueError) as error:
        raise invalid(field, expected="(height, width) in pixels", value=size) from error
    return build(image_pb2.ImageSize, field, height=height, width=width)


def decode_encoding(message: image_pb2.ImageEncoding) -> tuple[ImageFormat | None, int | None]:
    """The format and quality in a message; None for what is unset."""
    known = decode_word(image_pb2.ImageFormat.DESCRIPTOR, message.format) if message.format else None
    return cast("ImageFormat | None", known), message.quality if message.HasField("quality") else None


def decode_size(message: image_pb2.ImageSize) -> tuple[int, int]:
    """(height, width) of a message."""
    return message.height, message.width


def _encode_image(image: Picture, field: str) -> image_pb2.Image:
    if isinstance(image, str | PathLike):
        return _encoded(Path(image).read_bytes())
    if isinstance(image, bytes):
        return _encoded(image)
    if isinstance(image, Image.Image):
        return _pillow(image, field)
    if isinstance(image, np.ndarray):
        return image_pb2.Image(tensor=encode_tensor(_channels_first(image), field=f"{field}.tensor"))
    raise _not_a_picture(image, field)


def _encoded(data: bytes) -> image_pb2.Image:
    return image_pb2.Image(encoded=image_pb2.EncodedImage(data=data))


def _pillow(picture: Image.Image, field: str) -> image_pb2.Image:
    """As PNG, which loses nothing; a floating-point picture as a tensor. A photograph is turned as its camera says."""
    if picture.mode == "F":
        return image_pb2.Image(tensor=encode_tensor(np.asarray(picture), field=f"{field}.tensor"))
    upright = ImageOps.exif_transpose(picture)
    buffer = io.BytesIO()
    # The least compression: the bytes travel once, and on this machine as often as not.
    (upright if upright.mode in _PNG_MODES else upright.convert("RGB")).save(buffer, "PNG", compress_level=1)
    return _encoded(buffer.getvalue())


def _channels_first(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """(height, width, 3) as (3, height, width); the contract takes floating-point arrays only so."""
    last = array.ndim == 3 and array.shape[2] in (1, 3) and array.shape[0] not in (1, 3)
    return np.moveaxis(array, 2, 0) if last else array


def _not_a_picture(value: object, field: str) -> InvalidArgument:
    return invalid(field, expected="a Pillow image, an array, bytes or a path", value=value)

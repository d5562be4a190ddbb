"""The pictures of requests as arrays."""

import io

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from phosphene_server.errors import InvalidArgument
from phosphene_server.pictures.strips import strips
from phosphene_server.values.image import EncodedImage, Image, TensorImage

PIXEL_LIMIT = 64_000_000
"""The largest picture, in pixels: 768 MB as float32 RGB. Small files can unfold to more (decompression bombs)."""

MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "MPO": "image/jpeg", "WEBP": "image/webp"}
"""Pillow's name of each accepted format -> its media type. MPO is the JPEG of cameras that append further pictures."""

_EXPECTED_SHAPE = "an array of shape (height, width), (channel, height, width) or, as uint8, (height, width, 3)"


def decode(image: Image, *, field: str) -> NDArray[np.float32]:
    """Return a picture of a request as an array.

    A file becomes RGB in [0, 1]: its EXIF orientation is applied, alpha is laid over white (in sRGB, as browsers do),
    gray is repeated; of an animation the first frame is taken; ICC profiles are not applied. Pillow reads 16-bit gray
    in full and of 16-bit colour the upper 8 bits. A tensor keeps its channels: floating-point values are taken as they
    are, uint8 is divided by 255. A uint8 array whose last axis is 3 and whose first is not is (height, width, 3).

    Args:
        image: The picture.
        field: Its path in the request, for example `images[0]`.

    Returns:
        (channel, height, width).

    Raises:
        InvalidArgument: the bytes are no PNG, JPEG or WebP, or not of the media type; the tensor is no picture or not
            finite; the picture is larger than `PIXEL_LIMIT`.
    """
    if isinstance(image, EncodedImage):
        return _decode_file(image, field=f"{field}.encoded")
    return _decode_tensor(image, field=f"{field}.tensor")


def _decode_file(image: EncodedImage, *, field: str) -> NDArray[np.float32]:
    if not image.data:
        raise InvalidArgument(f"{field}.data", "no bytes", "the bytes of a PNG, JPEG or WebP file")
    # Hostile bytes make Pillow raise nearly anything: OSError, SyntaxError, ValueError, struct.error, zlib.error, ...
    try:
        with PIL.Image.open(io.BytesIO(image.data), formats=("PNG", "JPEG", "WEBP")) as file:
            _check_media_type(image, str(file.format), field=field)
            _check_size(file.height, file.width, field=f"{field}.data")
            return _to_rgb(PIL.ImageOps.exif_transpose(file))
    except InvalidArgument:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise _too_large(f"{field}.data", "more") from error
    except Exception as error:
        raise _unreadable(image.data, field=f"{field}.data", error=error) from error


def _unreadable(data: bytes, *, field: str, error: Exception) -> InvalidArgument:
    """Say what came; where Pillow does not know the format at all, its own text would only name a Python object."""
    unknown = isinstance(error, PIL.UnidentifiedImageError)
    reason = "" if unknown else f" ({str(error)[:80] or type(error).__name__})"
    value = f"{len(data)} bytes that begin with {data[:8].hex(' ')}{reason}"
    return InvalidArgument(field, value, "the bytes of a whole PNG, JPEG or WebP file")


def _check_media_type(image: EncodedImage, file_format: str, *, field: str) -> None:
    actual = MEDIA_TYPES[file_format]
    if image.media_type not in ("", actual):
        raise InvalidArgument(f"{field}.media_type", image.media_type, f"{actual}, which the bytes are, or nothing")


def _check_size(height: int, width: int, *, field: str) -> None:
    if height * width > PIXEL_LIMIT:
        raise _too_large(field, f"{height} x {width}")


def _too_large(field: str, size: str) -> InvalidArgument:
    return InvalidArgument(field, f"{size} pixels", f"a picture of at most {PIXEL_LIMIT:,} pixels")


def _to_rgb(file: PIL.Image.Image) -> NDArray[np.float32]:
    """Return RGB in [0, 1], (3, height, width), of a picture in any of Pillow's modes."""
    if file.mode.startswith("I"):  # 16 bits of gray; Pillow's own conversion to RGB would clip it at 255
        gray = np.asarray(file).astype(np.float32) / np.float32(65535)
        return np.repeat(gray[np.newaxis], 3, axis=0)
    if file.has_transparency_data:
        return _over_white(file.convert("RGBA"))
    return _channels_first(np.asarray(file.convert("RGB")))


def _over_white(file: PIL.Image.Image) -> NDArray[np.float32]:
    channels = _channels_first(np.asarray(file))
    color, alpha = channels[:3], channels[3:]
    return color * alpha + (1 - alpha)


def _channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return _to_floats(pixels.transpose(2, 0, 1))


def _to_floats(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return levels over 255, (channel, height, width)."""
    values = np.empty(levels.shape, np.float32)
    for rows in strips(*levels.shape[1:]):
        np.divide(np.ascontiguousarray(levels[:, rows]), np.float32(255), out=values[:, rows])
    return values


def _decode_tensor(image: TensorImage, *, field: str) -> NDArray[np.float32]:
    array = image.tensor
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3 and array.shape[0] != 3:
        array = array.transpose(2, 0, 1)
    if array.ndim == 2:
        array = array[np.newaxis]
    if array.ndim != 3 or array.size == 0:
        raise InvalidArgument(field, f"shape {image.tensor.shape}", f"{_EXPECTED_SHAPE}, no axis of which is 0")
    _check_size(array.shape[1], array.shape[2], field=field)
    if array.dtype == np.uint8:
        return _to_floats(array.astype(np.uint8, copy=False))
    if array.dtype.kind != "f":
        raise InvalidArgument(field, f"data type {array.dtype}", "float16, float32, float64 or uint8")
    return _finite(array, field=field)


def _finite(array: NDArray[np.generic], *, field: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is refused
        result = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(result).all():
        row = tuple(int(index) for index in np.argwhere(~np.isfinite(result))[0])
        raise InvalidArgument(field, f"{array[row]} at {row}", "finite float32 values")
    return result

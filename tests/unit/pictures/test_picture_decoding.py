import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from phosphene_server.errors import InvalidArgument
from phosphene_server.pictures.decoding import PIXEL_LIMIT, decode
from phosphene_server.values.image import EncodedImage, TensorImage


def file_of(pixels, file_format="PNG", mode=None, **options):
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, file_format, **options)
    return buffer.getvalue()


def decoded(data, media_type=""):
    return decode(EncodedImage(data, media_type), field="images[0]")


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_png_becomes_its_pixels_over_255(pixels):
    np.testing.assert_array_equal(decoded(file_of(pixels)), np.float32(pixels.transpose(2, 0, 1)) / np.float32(255))


@pytest.mark.parametrize(("file_format", "media_type"), [("JPEG", "image/jpeg"), ("WEBP", "image/webp")])
def test_lossy_files_become_nearly_their_pixels(file_format, media_type):
    smooth = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    picture = decoded(file_of(smooth, file_format, quality=100), media_type)
    assert picture.shape == (3, 64, 64)
    assert np.abs(picture - smooth.transpose(2, 0, 1) / 255).mean() < 0.01


def test_jpeg_of_a_camera_with_several_pictures_is_a_jpeg(pixels):
    first, second = PIL.Image.fromarray(pixels), PIL.Image.new("RGB", (7, 5))
    data = file_of(first, "MPO", save_all=True, append_images=[second])
    assert decoded(data, "image/jpeg").shape == (3, 5, 7)


def test_sixteen_bits_of_gray_are_kept():
    gray = np.array([[0, 1, 257], [32768, 65534, 65535]], np.uint16)
    picture = decoded(file_of(gray))
    np.testing.assert_array_equal(picture, np.repeat(np.float32(gray)[None] / np.float32(65535), 3, axis=0))


def test_sixteen_bits_of_color_are_right_to_eight():
    pixels = np.array([[[0, 32768, 65535], [257, 514, 25700]]], np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    np.testing.assert_allclose(decoded(data), pixels.transpose(2, 0, 1) / 65535, atol=1 / 255)


def test_palette_is_looked_up():
    image = PIL.Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    np.testing.assert_array_equal(
        np.rint(decoded(file_of(image)) * 255)[:, 0].T, np.array([[10, 20, 30], [200, 100, 50]])
    )


def test_transparent_palette_entry_is_white():
    image = PIL.Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    picture = decoded(file_of(image, transparency=1))
    np.testing.assert_array_equal(np.rint(picture * 255)[:, 0].T, [[10, 20, 30], [255, 255, 255]])


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_alpha_is_laid_over_white(file_format):
    pixels = np.array([[[255, 0, 0, 0], [255, 0, 0, 255], [0, 0, 0, 51]]], np.uint8)
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    picture = decoded(file_of(pixels, file_format, **options))
    np.testing.assert_allclose(picture[:, 0].T, [[1, 1, 1], [1, 0, 0], [0.8, 0.8, 0.8]], atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_gray_is_repeated(pixels, mode):
    picture = decoded(file_of(pixels, mode=mode))
    np.testing.assert_array_equal(picture[0], picture[1])
    np.testing.assert_array_equal(picture[0], picture[2])


def test_orientation_of_a_camera_is_applied(pixels):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to look right
    picture = decoded(file_of(pixels, exif=exif))
    np.testing.assert_array_equal(np.rint(picture * 255), np.rot90(pixels, -1).transpose(2, 0, 1))


@pytest.mark.parametrize("data", [b"", b"not a picture at all", b"\x89PNG\r\n\x1a\n", b"GIF89a" + bytes(40)])
def test_bytes_that_are_no_picture_are_refused(data):
    with pytest.raises(InvalidArgument, match=r"^images\[0\]\.encoded\.data: expected the bytes of a"):
        decoded(data)


def test_truncated_file_is_refused(pixels):
    with pytest.raises(InvalidArgument, match=r"images\[0\]\.encoded\.data"):
        decoded(file_of(np.tile(pixels, (20, 20, 1)))[:-200])


def refused_field(data):
    """The field that is blamed for the bytes, None where they are a picture."""
    try:
        decoded(data)
    except InvalidArgument as error:
        return error.field
    return None


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP"])
def test_damaged_bytes_give_a_picture_or_a_clear_error(pixels, file_format):
    whole = np.frombuffer(file_of(pixels, file_format), np.uint8)
    random = np.random.default_rng(1)
    for _ in range(200):
        damaged = whole.copy()
        damaged[random.integers(len(damaged), size=3)] = random.integers(256, size=3)
        assert refused_field(damaged.tobytes()) in (None, "images[0].encoded.data")


def test_media_type_that_contradicts_the_bytes_is_refused(pixels):
    with pytest.raises(InvalidArgument) as caught:
        decoded(file_of(pixels), "image/jpeg")
    assert caught.value.field == "images[0].encoded.media_type"
    assert "image/png" in caught.value.expected


@pytest.mark.parametrize("side", [8001, 10_000, 14_000])
def test_small_file_of_a_huge_picture_is_refused(side):
    image = PIL.Image.new("1", (side, side))
    with pytest.raises(InvalidArgument, match=f"at most {PIXEL_LIMIT:,} pixels"):
        decoded(file_of(image))


def test_float_tensor_is_taken_as_it_is():
    values = np.random.default_rng(0).normal(size=(5, 4, 6)) * 300
    picture = decode(TensorImage(values), field="images[0]")
    np.testing.assert_array_equal(picture, values.astype(np.float32))


def test_plane_gets_a_channel():
    assert decode(TensorImage(np.zeros((4, 6), np.float16)), field="images[0]").shape == (1, 4, 6)


@pytest.mark.parametrize(("shape", "result"), [((4, 6, 3), (3, 4, 6)), ((3, 4, 6), (3, 4, 6)), ((3, 6, 3), (3, 6, 3))])
def test_bytes_may_have_their_channels_last(shape, result):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    picture = decode(TensorImage(values), field="images[0]")
    expected = values if shape == result else values.transpose(2, 0, 1)
    np.testing.assert_array_equal(picture, expected.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(
    "tensor",
    [
        np.zeros(5, np.float32),
        np.zeros((1, 3, 4, 4), np.float32),
        np.zeros((3, 0, 4), np.float32),
        np.zeros((4, 4), np.int32),
        np.zeros((4, 4), bool),
        np.array([[0, np.nan]], np.float32),
        np.array([[0, -np.inf]], np.float32),
        np.array([[0, 1e300]]),
    ],
)
def test_tensor_that_is_no_picture_is_refused(tensor):
    with pytest.raises(InvalidArgument) as caught:
        decode(TensorImage(tensor), field="images[2]")
    assert caught.value.field == "images[2].tensor"

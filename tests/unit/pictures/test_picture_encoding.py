import io

import numpy as np
import PIL.Image
import pytest

from phosphene_server.errors import InvalidArgument
from phosphene_server.pictures.encoding import encode, to_bytes
from phosphene_server.values.image import ImageEncoding


@pytest.fixture
def picture():
    rows, columns = np.mgrid[0:40, 0:60]
    return np.stack([rows * 6, columns * 4, (rows + columns) * 2], axis=2).astype(np.uint8)


def opened(encoded):
    return PIL.Image.open(io.BytesIO(encoded.data))


def test_png_holds_every_pixel(picture):
    encoded = encode(picture, ImageEncoding())
    assert encoded.media_type == "image/png"
    np.testing.assert_array_equal(np.asarray(opened(encoded)), picture)


def test_gray_png_stays_gray(picture):
    image = opened(encode(picture[:, :, 0], ImageEncoding("png")))
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), picture[:, :, 0])


@pytest.mark.parametrize("file_format", ["jpeg", "webp"])
def test_lossy_formats_are_near(picture, file_format):
    encoded = encode(picture, ImageEncoding(file_format, 95))
    assert encoded.media_type == f"image/{file_format}"
    assert np.abs(np.asarray(opened(encoded)).astype(int) - picture).mean() < 3


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_gray_fits_every_format(picture, file_format):
    image = opened(encode(picture[:, :, 0], ImageEncoding(file_format))).convert("L")
    assert np.abs(np.asarray(image).astype(int) - picture[:, :, 0]).mean() < 3


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_same_picture_gives_same_bytes(picture, file_format):
    assert encode(picture, ImageEncoding(file_format)) == encode(picture.copy(), ImageEncoding(file_format))


def test_default_format_stands_in_for_an_open_one(picture):
    assert encode(picture, ImageEncoding(), default="webp").media_type == "image/webp"
    assert encode(picture, ImageEncoding("jpeg"), default="webp").media_type == "image/jpeg"


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_indices_of_a_palette_become_its_colors(file_format):
    palette = np.array([[0, 0, 0], [250, 250, 250], [120, 130, 140]], np.uint8)
    indices = np.repeat(np.arange(3, dtype=np.uint8), 40)[None].repeat(16, axis=0)
    image = opened(encode(indices, ImageEncoding(file_format, 95), palette=palette))
    assert image.mode == ("P" if file_format == "png" else "RGB")
    colors = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(colors - palette[indices]).max() <= (0 if file_format == "png" else 8)


def test_jpeg_keeps_the_colors_of_single_pixels():
    checkerboard = np.zeros((32, 32, 3), np.uint8)
    checkerboard[::2, ::2] = checkerboard[1::2, 1::2] = (255, 0, 0)
    checkerboard[::2, 1::2] = checkerboard[1::2, ::2] = (0, 0, 255)
    reread = np.asarray(opened(encode(checkerboard, ImageEncoding("jpeg", 95)))).astype(int)
    assert np.abs(reread - checkerboard).mean() < 8


def test_lower_quality_is_smaller(picture):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sizes = [len(encode(noise, ImageEncoding("webp", quality)).data) for quality in (20, 90)]
    assert sizes[0] < sizes[1]


def test_picture_too_long_for_a_format_is_refused():
    with pytest.raises(InvalidArgument) as caught:
        encode(np.zeros((1, 16384), np.uint8), ImageEncoding("webp"), field="rendering.encoding")
    assert caught.value.field == "rendering.encoding.format"


def test_levels_are_rounded_half_up_and_clipped():
    values = np.array([-1.0, 0.0, 0.5 / 255, 0.49 / 255, 0.5, 254.5 / 255, 1.0, 7.0], np.float32)
    assert to_bytes(np.tile(values, (3, 1, 1)))[0, :, 0].tolist() == [0, 0, 1, 0, 128, 255, 255, 255]


def test_every_level_survives_the_way_to_floats_and_back():
    levels = np.arange(256, dtype=np.uint8)
    back = to_bytes(np.tile(levels.astype(np.float32) / np.float32(255), (3, 1, 1)))
    np.testing.assert_array_equal(back, np.repeat(levels[None, :, None], 3, axis=2))


def test_one_channel_becomes_three_equal_ones():
    picture = to_bytes(np.linspace(0, 1, 12, dtype=np.float32).reshape(1, 3, 4))
    assert picture.shape == (3, 4, 3)
    assert (picture == picture[:, :, :1]).all()

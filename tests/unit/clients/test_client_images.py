"""Pictures and arrays on their way to the wire."""

import io
import pathlib

import numpy as np
import pytest
from fake_service import array, png
from PIL import Image

from phosphene import errors
from phosphene._wire.images import encode_images
from phosphene._wire.tensors import decode_tensor, encode_tensor


def decoded(message) -> Image.Image:
    return Image.open(io.BytesIO(message.encoded.data))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_a_pillow_picture_of_any_mode_keeps_its_colours(mode):
    original = Image.new("RGB", (5, 3), (255, 0, 0)).convert(mode)
    [message] = encode_images(original)
    np.testing.assert_allclose(
        np.asarray(decoded(message).convert("RGB"), int), np.asarray(original.convert("RGB"), int), atol=2
    )


def test_a_floating_point_picture_is_a_tensor():
    [message] = encode_images(Image.fromarray(np.array([[0.25, 0.5]], np.float32)))
    np.testing.assert_array_equal(array(message.tensor), [[0.25, 0.5]])


def test_a_photograph_is_turned_as_its_camera_says():
    upright = Image.new("RGB", (6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    buffer = io.BytesIO()
    upright.save(buffer, "JPEG", exif=exif)
    [message] = encode_images(Image.open(buffer))
    assert decoded(message).size == (4, 6)


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_a_file_is_sent_as_it_is(tmp_path, kind):
    path = tmp_path / "red.png"
    path.write_bytes(png((255, 0, 0)))
    [message] = encode_images(kind(path))
    assert message.encoded.data == png((255, 0, 0))


def test_bytes_are_sent_as_they_are():
    assert encode_images(b"anything")[0].encoded.data == b"anything"


@pytest.mark.parametrize(
    ("shape", "sent"),
    [((4, 6), (4, 6)), ((3, 4, 6), (3, 4, 6)), ((4, 6, 3), (3, 4, 6)), ((4, 6, 1), (1, 4, 6)), ((3, 6, 3), (3, 6, 3))],
)
def test_an_array_is_sent_with_its_channels_first(shape, sent):
    [message] = encode_images(np.zeros(shape, np.float32))
    assert tuple(message.tensor.shape) == sent


def test_an_array_with_channels_last_keeps_its_pixels():
    values = np.random.default_rng(0).random((4, 6, 3))
    [message] = encode_images(values)
    np.testing.assert_array_equal(array(message.tensor), values.transpose(2, 0, 1))


def test_a_batch_is_several_images():
    messages = encode_images(np.zeros((5, 4, 6, 3), np.uint8))
    assert [tuple(message.tensor.shape) for message in messages] == [(3, 4, 6)] * 5


def test_several_images_may_be_of_any_kind(tmp_path):
    assert len(encode_images([Image.new("L", (2, 2)), b"bytes", np.zeros((2, 2))])) == 3


@pytest.mark.parametrize(
    ("value", "field"), [(3, "images"), ([None], "images[0]"), ([np.zeros(2, complex)], "images[0].tensor")]
)
def test_what_is_no_picture_is_refused(value, field):
    with pytest.raises(errors.InvalidArgument) as caught:
        encode_images(value)
    assert caught.value.field == field


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"])
def test_a_tensor_survives_the_wire(dtype):
    values = np.arange(6).reshape(1, 2, 3).astype(dtype)
    back = decode_tensor(encode_tensor(values, field="x"))
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize(
    "values", [np.arange(6, dtype=">f4"), np.arange(12, dtype=np.float32)[::2], np.float32(3) * np.ones(())]
)
def test_byte_order_strides_and_scalars_do_not_matter(values):
    np.testing.assert_array_equal(decode_tensor(encode_tensor(values, field="x")), values)

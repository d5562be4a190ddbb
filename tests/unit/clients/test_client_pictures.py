"""Grids and animations of pictures."""

import io

import pytest
from PIL import Image

from phosphene.pictures import decode, encode_png, grid, save_animation


def squares(count: int) -> list[Image.Image]:
    return [Image.new("RGB", (4, 4), (index + 1, 0, 0)) for index in range(count)]


@pytest.mark.parametrize(("count", "size"), [(1, (4, 4)), (2, (10, 4)), (4, (10, 10)), (5, (16, 10))])
def test_a_grid_is_as_square_as_it_can_be(count, size):
    assert grid(squares(count), gap=2).size == size


def test_a_grid_keeps_the_order_of_the_pictures():
    sheet = grid(squares(3), gap=2)
    assert [sheet.getpixel(place)[0] for place in ((0, 0), (6, 0), (0, 6))] == [1, 2, 3]
    assert sheet.getpixel((6, 6))[3] == 0


def test_png_survives():
    assert decode(encode_png(squares(1)[0])).getpixel((0, 0)) == (1, 0, 0)


@pytest.mark.parametrize("suffix", ["webp", "gif"])
def test_an_animation_has_every_picture(tmp_path, suffix):
    path = tmp_path / f"growth.{suffix}"
    save_animation([Image.new("RGB", (8, 8), (60 * index, 0, 0)) for index in range(4)], path)
    assert Image.open(io.BytesIO(path.read_bytes())).n_frames == 4

import numpy as np
import pytest

from phosphene_server.pictures.diverging import diverging, diverging_palette
from phosphene_server.pictures.grid import columns_for, grid


@pytest.mark.parametrize("tiles", [1, 2, 3, 4, 5, 9, 10, 96, 100, 101, 10**6 + 1])
def test_columns_are_the_rounded_up_square_root(tiles):
    columns = columns_for(tiles)
    assert (columns - 1) ** 2 < tiles <= columns**2


def test_tiles_are_laid_out_in_rows_with_black_lines():
    tiles = np.array([[[1]], [[2]], [[3]]], np.uint8)
    assert grid(tiles).tolist() == [[1, 0, 2], [0, 0, 0], [3, 0, 0]]


def test_single_tile_has_no_lines():
    tile = np.arange(1, 7, dtype=np.uint8).reshape(1, 2, 3)
    np.testing.assert_array_equal(grid(tile), tile[0])


def test_enlargement_repeats_every_pixel():
    tiles = np.random.default_rng(0).integers(0, 256, (5, 2, 3, 3), dtype=np.uint8)
    np.testing.assert_array_equal(grid(tiles, enlargement=4), np.kron(grid(tiles), np.ones((4, 4, 1), np.uint8)))


def test_every_tile_stands_in_its_cell():
    tiles = np.random.default_rng(0).integers(1, 256, (7, 4, 5), dtype=np.uint8)
    picture = grid(tiles)
    assert picture.shape == (3 * 5 - 1, 3 * 6 - 1)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, 3)
        np.testing.assert_array_equal(picture[row * 5 : row * 5 + 4, column * 6 : column * 6 + 5], tile)


def colors_of(values, *, scale):
    indices = diverging(np.atleast_2d(values).astype(np.float32), scale=scale)
    return diverging_palette()[indices].reshape(*np.shape(values), 3)


def test_palette_holds_black_beside_all_colors_of_numbers():
    assert len(diverging_palette()) <= 256
    assert diverging_palette()[0].tolist() == [0, 0, 0]
    assert diverging(np.linspace(-2, 2, 9999, dtype=np.float32)[None], scale=1.0).min() == 1


def test_neighbouring_colors_are_hardly_told_apart():
    assert np.abs(np.diff(diverging_palette()[1:].astype(int), axis=0)).max() <= 4


def test_zero_is_exactly_white():
    assert colors_of(np.zeros((2, 2), np.float32), scale=3.0).tolist() == [[[255] * 3] * 2] * 2


def test_negative_is_blue_and_positive_is_red():
    blue, red = colors_of(np.array([-0.7, 0.7], np.float32), scale=1.0).astype(int)
    assert blue[2] > blue[0] + 50
    assert red[0] > red[2] + 50


def test_beyond_the_scale_is_the_full_color():
    colors = colors_of(np.array([-9.0, -2.0, 2.0, 9.0], np.float32), scale=2.0)
    assert colors.tolist() == [[5, 48, 97]] * 2 + [[103, 0, 31]] * 2


def test_stronger_is_darker_alike_on_both_sides():
    strengths = np.linspace(0, 1, 52, dtype=np.float32)
    linear = (np.stack([colors_of(sign * strengths, scale=1.0) for sign in (-1, 1)]) / 255) ** 2.2
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance, axis=1) < 0).all()
    np.testing.assert_allclose(luminance[0] ** (1 / 3), luminance[1] ** (1 / 3), atol=0.11)


@pytest.mark.parametrize("scale", [0.0, 5e-324, 1e-40, 1e300])
def test_no_scale_is_divided_by_badly(scale):
    values = np.array([0, 1e-45, 3e38, -3e38], np.float32)
    colors = colors_of(values, scale=scale)
    assert colors[0].tolist() == [255, 255, 255]

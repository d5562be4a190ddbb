import numpy as np
import PIL.Image
import pytest

from phosphene_server.pictures.encoding import SIDE_LIMITS, encode
from phosphene_server.pictures.sheet import compose_sheet
from phosphene_server.values.image import ImageEncoding


def flat(height, width, color):
    return np.broadcast_to(np.array(color, np.uint8), (height, width, 3)).copy()


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), dtype=np.uint8)


def sheet(pictures, labels=None, *, columns=None, tile_size=None, maximum_pixels=10**7):
    labels = [""] * len(pictures) if labels is None else labels
    return compose_sheet(pictures, labels, columns=columns, tile_size=tile_size, maximum_pixels=maximum_pixels)


def boxes(picture, color):
    """Rows and columns that hold a color, as (top, left, bottom, right)."""
    rows, columns = np.nonzero((picture == color).all(axis=2))
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def test_tiles_of_the_pictures_own_size_are_not_resampled():
    pictures = [noise(48, 48, seed) for seed in range(5)]
    picture = sheet(pictures)
    for index, tile in enumerate(pictures):
        row, column = divmod(index, 3)
        top, left = 3 + row * 51, 3 + column * 51
        np.testing.assert_array_equal(picture[top : top + 48, left : left + 48], tile)


def test_margins_are_even_around_and_between_tiles():
    colors = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (9, 9, 9)]
    picture = sheet([flat(64, 64, color) for color in colors], columns=2)
    first, right, below, last = (boxes(picture, color) for color in colors)
    margins = [*first[:2], right[1] - first[3], below[0] - first[2], *np.subtract(picture.shape[:2], last[2:])]
    assert margins == [4] * 6


def test_labels_stand_below_their_tiles_and_nowhere_else():
    labelled = sheet([flat(100, 100, (200, 0, 0))] * 4, ["first", "", "", ""], columns=2)
    dark = (labelled < 100).all(axis=2)
    rows, columns = np.nonzero(dark)
    assert 106 <= rows.min() < rows.max() < 106 + 2 + 14
    assert columns.min() > 6
    assert columns.max() < 106
    assert abs((columns.min() + columns.max()) / 2 - 56) <= 1.5


def test_without_labels_no_room_is_left_for_them():
    pictures = [noise(64, 64)] * 4
    assert sheet(pictures).shape == (2 * 68 + 4, 2 * 68 + 4, 3)
    assert sheet(pictures, ["1", "2", "3", "4"]).shape[0] > 2 * 68 + 4


def test_long_label_keeps_both_ends_and_stays_below_its_tile():
    pictures = [flat(120, 120, (200, 0, 0))] * 3
    name = "inception4a.branch2.1.convolution.weight:{}"
    whole = sheet(pictures, [name.format(1), name.format(2), ""], columns=3)
    dark = (whole < 120).all(axis=2)
    assert not dark[:, 128:136].any(), "the first label reaches into the margin"
    labels = [dark[128:, left : left + 120] for left in (8, 136)]
    assert (labels[0] != labels[1]).any(), "the end of the label is lost"
    np.testing.assert_array_equal(labels[0][:, :50], labels[1][:, :50])


@pytest.mark.parametrize("label", ["mixed4a:12", "größe µ", "two\nlines\tand a tab", "漢字", "a" * 3000])
def test_any_text_can_be_a_label(label):
    assert (sheet([noise(60, 60)], [label])[64:] < 150).any()


def test_pictures_of_different_shapes_are_centred_in_their_cells():
    colors = [(200, 0, 0), (0, 200, 0)]
    picture = sheet([flat(32, 64, colors[0]), flat(64, 64, colors[1])])
    wide, square = (boxes(picture, color) for color in colors)
    assert wide == (4 + 16, 4, 4 + 48, 68)
    assert square == (4, 72, 68, 136)


def test_pictures_are_scaled_to_the_tile_size():
    picture = sheet([flat(32, 64, (200, 0, 0))], tile_size=128)
    assert boxes(picture, (200, 0, 0)) == (8, 8, 72, 136)


@pytest.mark.parametrize("count", [1, 7, 64, 500])
@pytest.mark.parametrize("columns", [None, 1, 3, 1000])
def test_sheet_has_no_more_pixels_than_allowed(count, columns):
    limit = 300_000
    picture = sheet([noise(224, 224)] * count, ["x"] * count, columns=columns, maximum_pixels=limit)
    assert picture.shape[0] * picture.shape[1] <= limit
    assert max(picture.shape) <= min(SIDE_LIMITS.values())


def test_tiles_shrink_no_further_than_they_must():
    # 3 x 3 tiles of n with margins of n / 16: 10 / 16 of a tile more along each axis.
    picture = sheet([noise(224, 224)] * 9, maximum_pixels=600 * 600)
    assert 0.98 * 600 <= picture.shape[0] <= 600


def test_sheet_that_cannot_be_small_enough_is_refused():
    with pytest.raises(ValueError, match="100 pictures do not fit on a sheet of 99 pixels"):
        sheet([noise(8, 8)] * 100, maximum_pixels=99)


def test_every_picture_needs_a_label():
    with pytest.raises(ValueError, match="2 pictures and 1 labels"):
        sheet([noise(8, 8)] * 2, ["one"])


def test_sheet_can_be_encoded():
    picture = sheet([noise(30, 40)], ["label"])
    assert picture.dtype == np.uint8
    assert (
        encode(picture, ImageEncoding("png")).data
        == encode(np.array(PIL.Image.fromarray(picture)), ImageEncoding()).data
    )


def test_no_dots_stand_beside_the_ellipsis_of_a_long_label():
    pictures = [flat(60, 60, (200, 0, 0))] * 2
    np.testing.assert_array_equal(sheet(pictures, ["conv" + "." * 200 + "9", ""]), sheet(pictures, ["conv…9", ""]))

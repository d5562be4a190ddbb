import numpy as np
import pytest

from phosphene_server.errors import InvalidArgument
from phosphene_server.filters.figure import PIXEL_LIMIT, draw_figure
from phosphene_server.values.filter import FigureOptions
from phosphene_server.values.image import ImageEncoding

SMALL = FigureOptions(enlargement=1)


def drawn(weights, options=SMALL, *, color=False):
    return draw_figure("conv", np.array(weights, np.float32), options, color=color)


def test_layer_normalization_spans_black_to_white(read):
    figure = drawn([[[[0, 1]]], [[[2, 4]]], [[[3, 0]]]])
    assert read(figure.image).tolist() == [[0, 64, 0, 128, 255], [0, 0, 0, 0, 0], [191, 0, 0, 0, 0]]
    assert (figure.columns, figure.rows, figure.low, figure.high) == (2, 2, 0, 4)


def test_filter_normalization_spans_each_filter_over_all_its_channels(read):
    figure = drawn([[[[0]], [[1]]], [[[30]], [[20]]]], FigureOptions("filter", enlargement=1))
    assert read(figure.image).tolist() == [[0, 0, 255], [0, 0, 0], [255, 0, 0]]
    assert (figure.low, figure.high) == (None, None)


def test_symmetric_normalization_shows_zero_as_middle_gray(read):
    figure = drawn([[[[0, 1, -4]]]], FigureOptions("symmetric", enlargement=1))
    assert read(figure.image).tolist() == [[128, 159, 0]]
    assert (figure.low, figure.high) == (-4, 4)


@pytest.mark.parametrize("normalization", ["layer", "filter", "symmetric"])
@pytest.mark.parametrize("value", [0.0, -1e-30])
def test_equal_weights_are_not_divided_by_zero(read, normalization, value):
    figure = drawn(np.full((1, 1, 2, 2), value), FigureOptions(normalization, enlargement=1))
    expected = 0 if normalization == "symmetric" and value else 128
    assert (read(figure.image) == expected).all()


def test_filter_in_color_is_one_tile(read):
    weights = np.zeros((1, 3, 1, 2), np.float32)
    weights[0, :, 0, 0] = (0, 1, 2)
    figure = drawn(weights, color=True)
    assert read(figure.image).tolist() == [[[0, 128, 255], [0, 0, 0]]]
    assert (figure.color, figure.total) == (True, 1)


def test_filter_in_gray_is_one_tile_for_each_channel():
    figure = drawn(np.zeros((5, 3, 2, 2)))
    assert (figure.color, figure.total, figure.shown, figure.columns, figure.rows) == (False, 15, 15, 4, 4)


def test_tiles_beyond_the_limit_are_cut_and_told(read):
    figure = drawn(np.arange(96 * 4).reshape(96, 1, 2, 2), FigureOptions(enlargement=1, tile_limit=64))
    assert (figure.shown, figure.total, figure.columns, figure.rows) == (64, 96, 8, 8)
    assert figure.caption == "conv: shown 64 of 96"
    assert (figure.low, figure.high) == (0, 64 * 4 - 1)
    assert read(figure.image).shape == (8 * 3 - 1, 8 * 3 - 1)


def test_enlargement_repeats_weights_and_lines(read):
    weights = np.random.default_rng(0).normal(size=(4, 1, 3, 3))
    small, large = (read(drawn(weights, FigureOptions(enlargement=side)).image) for side in (1, 5))
    np.testing.assert_array_equal(large, np.kron(small, np.ones((5, 5), np.uint8)))


@pytest.mark.parametrize("filters", [1, 4, 96, 500])
def test_figure_is_about_eight_hundred_pixels_wide_unless_told(read, filters):
    figure = drawn(np.random.default_rng(0).normal(size=(filters, 1, 7, 7)), FigureOptions())
    assert figure.enlargement == 64 or 700 <= read(figure.image).shape[1] <= 900


def test_one_dimensional_filter_is_a_row(read):
    assert read(drawn([[[0, 1, 2]], [[2, 1, 0]]]).image).tolist() == [[0, 128, 255, 0, 255, 128, 0]]


def test_slices_of_a_three_dimensional_filter_stand_side_by_side(read):
    weights = np.arange(8).reshape(1, 1, 2, 2, 2)
    assert read(drawn(weights).image).tolist() == [[0, 36, 0, 146, 182], [73, 109, 0, 219, 255]]


@pytest.mark.parametrize(("inputs", "size"), [(784, (28, 28)), (512, (16, 32)), (13, (1, 13)), (1, (1, 1))])
def test_linear_filter_fills_the_rectangle_nearest_to_a_square(read, inputs, size):
    weights = np.random.default_rng(0).normal(size=(1, inputs)).astype(np.float32)
    figure = drawn(weights)
    assert read(figure.image).shape == size
    assert figure.total == 1
    order = np.argsort(read(figure.image).ravel(), kind="stable")
    assert (np.diff(weights[0, order]) > -(np.ptp(weights) / 255 + 1e-6)).all()


def test_caption_tells_what_is_shown():
    assert drawn(np.zeros((96, 3, 7, 7)), color=True).caption == "conv: 96 filters of 3x7x7"


def test_tiles_that_would_make_the_figure_too_large_are_cut_too(read):
    figure = drawn(np.zeros((900, 1, 127, 127)), FigureOptions(enlargement=8, tile_limit=16384))
    assert 0 < figure.shown < figure.total
    assert read(figure.image).size <= PIXEL_LIMIT


def test_figure_of_which_no_tile_fits_is_refused():
    with pytest.raises(InvalidArgument) as caught:
        drawn(np.zeros((1, 1, 127, 127)), FigureOptions(enlargement=64))
    assert caught.value.field == "figure.enlargement"


def test_encoding_is_the_one_asked_for():
    figure = drawn(np.zeros((1, 1, 3, 3)), FigureOptions(encoding=ImageEncoding("webp")))
    assert figure.image.media_type == "image/webp"

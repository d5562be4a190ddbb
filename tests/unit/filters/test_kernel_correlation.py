import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch

from phosphene_server.filters import correlation, fourier
from phosphene_server.filters.application import apply_kernel
from phosphene_server.filters.kernels import NAMED_KERNELS
from phosphene_server.values.image import TensorImage
from phosphene_server.values.kernel import ApplyKernelRequest, CustomKernel, Extent, NamedKernel

SCIPY_MODES = {"zeros": "constant", "reflect": "mirror", "replicate": "nearest", "circular": "wrap"}
EXACT_WAYS = [correlation.tap_by_tap, correlation.in_bands, correlation.by_matrix]
WAYS = [*EXACT_WAYS, fourier.by_transform]
NO_STRIDE = {"stride": Extent(1, 1), "dilation": Extent(1, 1)}


def picture(height, width, *, channels=1, largest=255.0, seed=0):
    return (np.random.default_rng(seed).random((channels, height, width)) * largest).astype(np.float32)


def respond(image, kernel, **options):
    kernel = NamedKernel(kernel) if isinstance(kernel, str) else CustomKernel(np.asarray(kernel))
    request = ApplyKernelRequest((TensorImage(np.asarray(image, np.float32)),), kernel, **options)
    return apply_kernel(request, None, torch.device("cpu")).responses[0].values


def dilated(kernel, rows, columns):
    result = np.zeros(((kernel.shape[0] - 1) * rows + 1, (kernel.shape[1] - 1) * columns + 1))
    result[::rows, ::columns] = kernel
    return result


def assert_near(values, expected):
    """Equal to 1e-5 of the largest value, or absolutely where that is below 1."""
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("padding", SCIPY_MODES)
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 2), (4, 3), (3, 6), (1, 8), (9, 9), (12, 15)])
def test_response_agrees_with_scipy(padding, flip, shape):
    image, kernel = picture(19, 23), np.random.default_rng(1).normal(size=shape)
    oracle = scipy.ndimage.convolve if flip else scipy.ndimage.correlate
    expected = oracle(image[0].astype(np.float64), kernel, mode=SCIPY_MODES[padding])
    assert_near(respond(image, kernel, padding=padding, flip=flip)[0], expected)


@pytest.mark.parametrize("padding", SCIPY_MODES)
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3), (40, 1)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (3, 4)])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4)])
def test_strided_and_dilated_response_agrees_with_scipy(padding, flip, stride, dilation, shape):
    image, kernel = picture(17, 22), np.random.default_rng(1).normal(size=shape)
    oracle = scipy.ndimage.convolve if flip else scipy.ndimage.correlate
    whole = oracle(image[0].astype(np.float64), dilated(kernel, *dilation), mode=SCIPY_MODES[padding])
    values = respond(image, kernel, padding=padding, flip=flip, stride=Extent(*stride), dilation=Extent(*dilation))
    assert_near(values[0], whole[:: stride[0], :: stride[1]])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("stride", "dilation"), [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((3, 1), (2, 3))])
def test_valid_response_agrees_with_scipy(flip, stride, dilation):
    image, kernel = picture(17, 22), np.random.default_rng(1).normal(size=(4, 3))
    oracle = scipy.signal.convolve2d if flip else scipy.signal.correlate2d
    whole = oracle(image[0].astype(np.float64), dilated(kernel, *dilation), mode="valid")
    values = respond(image, kernel, padding="valid", flip=flip, stride=Extent(*stride), dilation=Extent(*dilation))
    assert_near(values[0], whole[:: stride[0], :: stride[1]])


@pytest.mark.parametrize("kernel", NAMED_KERNELS)
def test_named_kernels_agree_with_scipy(kernel):
    image = picture(30, 20)
    expected = scipy.ndimage.correlate(image[0].astype(np.float64), NAMED_KERNELS[kernel], mode="mirror")
    assert_near(respond(image, kernel)[0], expected)


@pytest.mark.parametrize("padding", SCIPY_MODES)
def test_largest_kernels_agree_with_scipy(padding):
    image, kernel = picture(90, 200), np.random.default_rng(1).normal(size=(127, 127))
    expected = scipy.signal.correlate(
        np.pad(
            image[0].astype(np.float64),
            63,
            mode={"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[padding],
        ),
        kernel,
        mode="valid",
    )
    assert_near(respond(image, kernel, padding=padding)[0], expected)


@pytest.mark.parametrize("padding", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3)])
def test_border_may_be_wider_than_the_picture(padding, size):
    image, kernel = picture(*size), np.random.default_rng(1).normal(size=(9, 11))
    expected = scipy.ndimage.correlate(image[0].astype(np.float64), kernel, mode=SCIPY_MODES[padding])
    assert_near(respond(image, kernel, padding=padding)[0], expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("stride", "dilation"), [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((1, 50), (2, 1))])
def test_all_ways_lead_to_the_same_sums(monkeypatch, way, stride, dilation):
    # Small strips and blocks, so that there are many of them.
    monkeypatch.setattr(correlation, "_COLUMN_BYTES", 8000)
    monkeypatch.setattr(correlation, "_STRIP_VALUES", {"cpu": 100})
    monkeypatch.setattr(fourier, "_SIDE", 16)
    monkeypatch.setattr(fourier, "_SPECTRA_BYTES", 50_000)
    image = torch.from_numpy(picture(31, 37, channels=3))
    kernels = torch.randn(5, 3, 4, 3, dtype=torch.float64)
    values = way(image, kernels, stride=Extent(*stride), dilation=Extent(*dilation))
    expected = torch.nn.functional.conv2d(image.double()[None], kernels, stride=stride, dilation=dilation)[0]
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("way", EXACT_WAYS)
@pytest.mark.parametrize("constant", [0.1, 1 / 3, 0.7, 1.0, 255.0, 1e-30, 3.3e37, *np.random.default_rng(0).random(20)])
def test_zero_sum_kernels_answer_exactly_zero_to_a_constant_picture(way, constant):
    image = torch.full((1, 33, 70), float(constant))
    for name in ("laplacian", "sobel_x", "sobel_y", "prewitt_x", "prewitt_y", "scharr_x", "scharr_y"):
        kernel = torch.from_numpy(NAMED_KERNELS[name])[None, None]
        assert not way(image, kernel, **NO_STRIDE).any(), name


@pytest.mark.parametrize(("stride", "dilation"), [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((3, 1), (2, 5))])
def test_outer_product_leads_to_the_same_sums_as_two_kernels(monkeypatch, stride, dilation):
    monkeypatch.setattr(correlation, "_STRIP_VALUES", {"cpu": 100})
    image = torch.from_numpy(picture(31, 37))
    kernel = torch.outer(*torch.randn(2, 5, dtype=torch.float64))[None, None, :, 1:]
    values = correlation.as_two_kernels(image, kernel, stride=Extent(*stride), dilation=Extent(*dilation))
    expected = torch.nn.functional.conv2d(image.double()[None], kernel, stride=stride, dilation=dilation)[0]
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-9)


def test_zero_sum_outer_products_of_whole_numbers_answer_exactly_zero_to_a_constant_picture():
    numbers = np.random.default_rng(0)
    for constant in numbers.random(20):
        row = numbers.integers(-9, 10, 4)
        kernel = np.outer(numbers.integers(-9, 10, 5), [*row, -row.sum()]) / 64
        image = torch.full((1, 12, 13), float(constant))
        assert not correlation.as_two_kernels(image, torch.from_numpy(kernel)[None, None], **NO_STRIDE).any()


def test_way_is_the_fastest_for_the_kernel():
    def way(kernels, stride=1):
        extent = Extent(stride, stride)
        return correlation.Correlation(torch.as_tensor(kernels, dtype=torch.float64), extent, Extent(1, 1))._fastest

    assert way(NAMED_KERNELS["sobel_x"][None, None]) is correlation.tap_by_tap
    assert way(NAMED_KERNELS["gaussian"][None, None]) is correlation.as_two_kernels
    assert way(np.ones((1, 1, 31, 31))) is correlation.as_two_kernels
    assert way(torch.randn(1, 1, 9, 9)) is correlation.in_bands
    assert way(torch.randn(1, 1, 31, 31)) is fourier.by_transform
    bell = torch.exp(-((torch.arange(61, dtype=torch.float64) - 30) ** 2) / 200)
    assert way(torch.outer(bell, bell)[None, None]) is fourier.by_transform
    assert way(torch.randn(64, 3, 7, 7), stride=2) is correlation.by_matrix


@pytest.mark.parametrize("stride", [1, 2, 5])
@pytest.mark.parametrize("divisor", [1, 64])
def test_whole_numbers_up_to_31x31_that_sum_to_zero_answer_exactly_zero_to_a_constant_picture(stride, divisor):
    kernel = np.random.default_rng(0).integers(-9, 10, (31, 31)).astype(float)
    kernel[15, 15] -= kernel.sum()
    image = np.full((1, 40, 45), 0.1)
    assert not respond(image, kernel / divisor, padding="valid", stride=Extent(stride, stride)).any()


@pytest.mark.parametrize("padding", ["valid", *SCIPY_MODES])
@pytest.mark.parametrize("kernel", [(3, 3), (4, 9), (31, 31)])
@pytest.mark.parametrize("stride", [1, 3])
def test_pieces_of_a_response_are_those_of_the_whole(monkeypatch, padding, kernel, stride):
    image, kernel = picture(40, 50), np.random.default_rng(1).normal(size=kernel)
    options = {"padding": padding, "stride": Extent(stride, stride)}
    whole = respond(image, kernel, **options)
    monkeypatch.setattr(correlation, "_PIECE_NANOSECONDS", 1.0)
    monkeypatch.setattr(fourier, "_SIDE", 36)
    monkeypatch.setattr(fourier, "_LARGER_SIDE", 36)
    np.testing.assert_allclose(respond(image, kernel, **options), whole, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("padding", ["valid", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("channels", ["gray", "per_channel"])
def test_laplacian_of_a_constant_color_is_exactly_zero(padding, channels):
    for color in np.random.default_rng(2).random((50, 3)):
        image = np.broadcast_to(color[:, None, None], (3, 13, 37))
        assert not respond(image, "laplacian", padding=padding, channels=channels).any()


def test_laplacian_of_two_flat_halves_answers_along_the_edge_alone():
    for left, right in np.random.default_rng(3).random((50, 2)):
        image = np.full((1, 9, 40), left)
        image[:, :, 20:] = right
        values = respond(image, "laplacian")[0]
        assert (np.flatnonzero(values.any(axis=0)) == [19, 20]).all()
        np.testing.assert_allclose(values[:, 19], right - left, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(values[:, 20], left - right, rtol=1e-6, atol=1e-7)


def test_small_named_kernels_take_the_exact_way_at_any_size(monkeypatch):
    def forbidden(*_arguments, **_keywords):
        raise AssertionError("the Fourier transform is not exact")

    monkeypatch.setattr(correlation, "by_transform", forbidden)
    for kernel in NAMED_KERNELS:
        for stride in (1, 7):
            respond(picture(8, 8), kernel, stride=Extent(stride, stride))


def test_mean_of_a_constant_is_that_constant():
    np.testing.assert_allclose(respond(np.full((1, 200, 200), 0.37), np.ones((41, 41)) / 41**2), 0.37, rtol=1e-6)


def test_sobel_is_positive_where_it_grows_brighter_rightwards_and_downwards():
    rows, columns = np.mgrid[0:8, 0:8].astype(np.float32)
    assert respond(columns[None], "sobel_x", padding="valid").tolist() == [[[8.0] * 6] * 6]
    assert respond(rows[None], "sobel_y", padding="valid").tolist() == [[[8.0] * 6] * 6]
    assert (respond(columns[None], "sobel_x", padding="valid", flip=True) == -8).all()


def test_kernel_of_several_channels_sums_over_them():
    image, kernels = picture(20, 21, channels=3), np.random.default_rng(1).normal(size=(4, 3, 5, 4))
    expected = [
        sum(scipy.ndimage.correlate(image[c].astype(np.float64), kernel[c], mode="mirror") for c in range(3))
        for kernel in kernels
    ]
    assert_near(respond(image, kernels), np.array(expected))

import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import torch

from phosphene_server.filters import correlation
from phosphene_server.filters.application import apply_kernel
from phosphene_server.filters.kernels import NAMED_KERNELS
from phosphene_server.values.image import TensorImage
from phosphene_server.values.kernel import ApplyKernelRequest, CustomKernel, Extent, NamedKernel

SCIPY_MODES = {"zeros": "constant", "reflect": "mirror", "replicate": "nearest", "circular": "wrap"}
WAYS = [correlation._tap_by_tap, correlation._by_matrix, correlation._by_transform]


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
    monkeypatch.setattr(correlation, "_STRIP_BYTES", 8000)
    monkeypatch.setattr(correlation, "_BLOCK", 16)
    image = torch.from_numpy(picture(31, 37, channels=3))
    kernels = torch.randn(5, 3, 4, 3, dtype=torch.float64)
    values = way(image, kernels, stride=Extent(*stride), dilation=Extent(*dilation))
    expected = torch.nn.functional.conv2d(image.double()[None], kernels, stride=stride, dilation=dilation)[0]
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("way", WAYS[:2])
@pytest.mark.parametrize("constant", [0.1, 1 / 3, 0.7, 1.0, 255.0, 1e-30, 3.3e37, *np.random.default_rng(0).random(20)])
def test_zero_sum_kernels_answer_exactly_zero_to_a_constant_picture(way, constant):
    image = torch.full((1, 33, 70), float(constant))
    for name in ("laplacian", "sobel_x", "sobel_y", "prewitt_x", "prewitt_y", "scharr_x", "scharr_y"):
        kernel = torch.from_numpy(NAMED_KERNELS[name])[None, None]
        values = way(image, kernel, stride=Extent(1, 1), dilation=Extent(1, 1))
        assert not values.any(), name


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

    monkeypatch.setattr(correlation, "_by_transform", forbidden)
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

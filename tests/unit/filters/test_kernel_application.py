from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from phosphene_server.errors import InvalidArgument, LayerUnusable, NotFound
from phosphene_server.filters import application
from phosphene_server.filters.application import apply_kernel
from phosphene_server.filters.kernels import NAMED_KERNELS
from phosphene_server.models.preprocessing import preprocess
from phosphene_server.pictures.encoding import encode
from phosphene_server.values.image import EncodedImage, ImageEncoding, ImageSize, TensorImage
from phosphene_server.values.kernel import (
    ApplyKernelRequest,
    CustomKernel,
    Extent,
    KernelName,
    LayerKernel,
    NamedKernel,
    ResponseRendering,
)
from phosphene_server.values.model import ModelReference, Preprocessing

TINY = ModelReference("tiny")
CAFFE = Preprocessing("bgr", 0.0, 255.0, (104.0, 117.0, 123.0), (1.0, 2.0, 3.0), ImageSize(8, 8), True)


def image_of(*shape, seed=0):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def apply(images, kernel="laplacian", model=None, **options):
    kernel = NamedKernel(kernel) if isinstance(kernel, str) else kernel
    tensors = tuple(TensorImage(image) for image in images)
    return apply_kernel(ApplyKernelRequest(tensors, kernel, **options), model, torch.device("cpu"))


def refused(field, images, kernel="laplacian", model=None, **options):
    with pytest.raises(InvalidArgument) as caught:
        apply(images, kernel, model, **options)
    assert caught.value.field == field
    return caught.value


def test_every_name_has_a_kernel_and_every_kernel_a_name():
    assert set(NAMED_KERNELS) == set(get_args(KernelName))


def test_several_images_of_different_size_are_answered_in_order():
    images = [image_of(3, 9, 12), image_of(1, 20, 8, seed=1)]
    responses = apply(images).responses
    assert [response.values.shape for response in responses] == [(1, 9, 12), (1, 20, 8)]
    for image, response in zip(images, responses, strict=True):
        np.testing.assert_array_equal(response.values, apply([image]).responses[0].values)


def test_gray_is_the_luma_of_the_picture():
    image = image_of(3, 8, 9)
    values = apply([image], "identity").responses[0].values
    np.testing.assert_allclose(values[0], np.tensordot([0.299, 0.587, 0.114], image, 1), rtol=1e-6)


def test_every_channel_alone():
    image = image_of(5, 8, 9)
    values = apply([image], "identity", channels="per_channel").responses[0].values
    np.testing.assert_array_equal(values, image)


def test_kernels_of_the_response_are_those_that_were_applied():
    kernel = np.arange(6).reshape(2, 3)
    response = apply([image_of(1, 8, 8)], CustomKernel(kernel), flip=True)
    assert response.kernels.dtype == np.float32
    np.testing.assert_array_equal(response.kernels, kernel[None, None])


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.uint8, np.int8, np.int64, bool])
def test_kernel_may_have_any_type_of_numbers(dtype):
    response = apply([image_of(1, 8, 8)], CustomKernel(np.eye(3, dtype=dtype)))
    np.testing.assert_array_equal(response.kernels[0, 0], np.eye(3))


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("preprocessed", [True, False])
def test_response_of_a_layer_is_what_the_layer_computes(tiny, groups, bias, preprocessed):
    layer = torch.nn.Conv2d(3, 6, (5, 3), stride=(2, 1), padding=(2, 1), groups=groups)
    model = tiny().layer("conv", layer.weight, layer.bias, groups=groups).build(CAFFE)
    image = image_of(3, 21, 16)
    kernel = LayerKernel(TINY, "conv", bias=bias, preprocess=preprocessed)
    values = apply([image], kernel, model, stride=Extent(2, 1), padding="zeros").responses[0].values
    read = torch.from_numpy(image)[None]
    read = preprocess(read, replace(CAFFE, fixed_size=False)) if preprocessed else read
    with torch.no_grad():
        if not bias:
            layer.bias.zero_()
        expected = layer(read)[0]
    torch.testing.assert_close(torch.from_numpy(values), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_chosen_filters_of_a_layer_keep_their_bias(tiny):
    weight, bias = torch.randn(6, 3, 3, 3), torch.randn(6)
    model = tiny().layer("conv", weight, bias).build()
    image = image_of(3, 10, 11)
    kernel = LayerKernel(TINY, "conv", filters=(4, 1))
    response = apply([image], kernel, model, padding="valid")
    expected = F.conv2d(torch.from_numpy(image)[None], weight, bias)[0, [4, 1]]
    torch.testing.assert_close(torch.from_numpy(response.responses[0].values), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(response.kernels, weight[[4, 1]].numpy())


def test_layer_that_reads_gray_sees_the_luma(tiny):
    gray = Preprocessing("gray", 0.0, 1.0, (0.5,), (0.25,), ImageSize(8, 8), False)
    model = tiny().layer("conv", torch.ones(1, 1, 1, 1)).build(gray)
    image = image_of(3, 8, 9)
    values = apply([image], LayerKernel(TINY, "conv"), model).responses[0].values
    np.testing.assert_allclose(values[0], (np.tensordot([0.299, 0.587, 0.114], image, 1) - 0.5) / 0.25, atol=1e-5)


def test_gray_picture_counts_as_three_equal_channels_for_a_layer(tiny):
    model = tiny().layer("conv", torch.randn(2, 3, 3, 3)).build()
    gray = image_of(1, 8, 9)
    values = [
        apply([image], LayerKernel(TINY, "conv"), model).responses[0].values for image in (gray, gray.repeat(3, 0))
    ]
    np.testing.assert_array_equal(*values)


def test_file_and_tensor_of_the_same_pixels_answer_alike(tiny):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    file = EncodedImage(encode(pixels, ImageEncoding()).data)
    request = ApplyKernelRequest((file, TensorImage(pixels)), NamedKernel("sobel_x"))
    first, second = apply_kernel(request, None, torch.device("cpu")).responses
    np.testing.assert_array_equal(first.values, second.values)
    assert first.picture == second.picture


def test_picture_has_white_at_zero_blue_below_and_red_above(read):
    image = np.array([[0.0, 0.5, -0.5]], np.float32)
    response = apply([image], "identity").responses[0]
    assert response.scale == 0.5
    assert read(response.picture).tolist() == [[[255, 255, 255], [103, 0, 31], [5, 48, 97]]]


def test_given_scale_is_used(read):
    response = apply([np.full((1, 2, 2), 0.5)], "identity", rendering=ResponseRendering(scale=2.5)).responses[0]
    assert response.scale == 2.5
    assert read(response.picture).tolist() == [[[253, 219, 199]] * 2] * 2


def test_response_of_zeros_is_white_and_its_scale_zero(read):
    response = apply([np.full((3, 9, 9), 0.3)]).responses[0]
    assert response.scale == 0
    assert (read(response.picture) == 255).all()


def test_channels_are_drawn_as_tiles(read):
    response = apply([image_of(3, 6, 7)], channels="per_channel").responses[0]
    assert read(response.picture).shape == (2 * 7 - 1, 2 * 8 - 1, 3)
    assert read(response.overlay).shape == (2 * 7 - 1, 2 * 8 - 1, 3)


def test_default_scale_leaves_a_few_glaring_positions_out():
    image = np.full((1, 100, 100), 0.01, np.float32)
    image[0, 0, :3] = 100
    assert apply([image], "identity").responses[0].scale == pytest.approx(0.01)


@pytest.mark.parametrize("size", [1, 7, 200, 30_000])
@pytest.mark.parametrize("kind", ["normal", "cauchy", "rounded", "constant", "sparse"])
def test_default_scale_is_the_size_below_which_nearly_all_responses_lie(size, kind):
    numbers = np.random.default_rng(0)
    values = {
        "normal": numbers.normal(size=size),
        "cauchy": numbers.standard_cauchy(size),
        "rounded": np.rint(numbers.normal(size=size)),
        "constant": np.full(size, -3.0),
        "sparse": np.arange(size) % 1009 == 0,  # large only where a regular sample looks
    }[kind].astype(np.float32)
    expected = np.sort(np.abs(values))[int(0.995 * (size - 1))] or np.abs(values).max()
    assert apply([values[None, None]], "identity").responses[0].scale == expected


def test_overlay_of_opacity_zero_is_the_picture_in_lifted_gray(read):
    image = np.array([[0.0, 0.5, 1.0]], np.float32)
    overlay = apply([image], rendering=ResponseRendering(overlay_opacity=0.0)).responses[0].overlay
    assert np.abs(read(overlay)[0].astype(int) - [[89] * 3, [172] * 3, [255] * 3]).max() <= 1


def test_overlay_covers_the_picture_the_more_the_larger_the_response_is(read):
    image = np.array([[0.0, -0.1, -0.4, 0.4]], np.float32)  # the negative ones are black
    rendering = ResponseRendering(scale=0.4, overlay_opacity=1.0)
    none, quarter, full, red = read(apply([image], "identity", rendering=rendering).responses[0].overlay)[0].astype(int)
    blue = np.array([0x21, 0x66, 0xAC])
    assert none.tolist() == [89, 89, 89]
    assert np.abs(quarter - (blue + 89) / 2).max() <= 1
    assert np.abs(full - blue).max() <= 1
    assert np.abs(red - [0xB2, 0x18, 0x2B]).max() <= 1


def test_overlay_may_be_left_out():
    assert apply([image_of(3, 9, 8)], rendering=ResponseRendering(overlay=False)).responses[0].overlay is None


def test_overlay_of_a_strided_response_has_the_size_of_the_picture(read):
    image = np.zeros((1, 10, 10), np.float32)
    image[0, 4, 8] = 1
    opaque = ResponseRendering(overlay_opacity=1.0)
    response = apply([image], "identity", stride=Extent(4, 4), rendering=opaque).responses[0]
    reds = np.argwhere(read(response.overlay)[:, :, 0] > read(response.overlay)[:, :, 2])
    assert response.values.shape == (1, 3, 3)
    assert (reds.min(axis=0).tolist(), reds.max(axis=0).tolist()) == ([2, 6], [5, 9])


def test_overlay_of_a_valid_response_leaves_the_border_alone(read):
    image = np.full((1, 9, 9), -1, np.float32)  # black, and answered to with -1
    opaque = ResponseRendering(scale=1.0, overlay_opacity=1.0)
    overlay = read(apply([image], "box", padding="valid", rendering=opaque).responses[0].overlay)
    gray = (overlay == 89).all(axis=2)
    assert not gray[1:-1, 1:-1].any()
    assert gray.sum() == 9 * 9 - 7 * 7


def test_responses_are_compressed_as_asked():
    rendering = ResponseRendering(ImageEncoding("webp"))
    response = apply([image_of(3, 9, 8)], rendering=rendering).responses[0]
    assert {response.picture.media_type, response.overlay.media_type} == {"image/webp"}


def test_kernel_larger_than_a_valid_picture_is_refused():
    error = refused("images[1]", [image_of(1, 9, 9), image_of(1, 9, 2)], "gaussian", padding="valid")
    assert "5 x 5" in error.expected


@pytest.mark.parametrize("shape", [(3,), (1, 3, 3), (128, 1), (1, 128), (0, 3), (1, 1, 1, 128), (0, 1, 3, 3)])
def test_kernel_of_a_wrong_shape_is_refused(shape):
    assert str(shape) in refused("kernel.values", [image_of(1, 9, 9)], CustomKernel(np.zeros(shape))).value


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e39])
def test_kernel_that_is_not_finite_is_refused(number):
    refused("kernel.values", [image_of(1, 9, 9)], CustomKernel(np.array([[number]])))


def test_kernel_of_other_channels_than_the_picture_is_refused():
    error = refused("kernel.values", [image_of(1, 9, 9)], CustomKernel(np.zeros((2, 3, 3, 3))))
    assert "images[0]" in error.value


def test_gray_of_a_picture_without_colors_is_refused():
    assert "per_channel" in refused("channels", [image_of(4, 9, 9)]).expected


@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_kernel_dilated_too_far_is_refused_with_what_would_do(axis):
    dilation = Extent(**{"rows": 1, "columns": 1, axis: 1024})
    assert "at most 1023" in refused(f"dilation.{axis}", [image_of(1, 9, 9)], dilation=dilation).expected


def test_picture_too_large_with_its_border_is_refused():
    refused("images[0]", [np.zeros((200, 9, 9))], CustomKernel(np.ones((1, 200, 2, 2))), dilation=Extent(2047, 2047))


def test_responses_too_large_for_a_message_are_refused(monkeypatch):
    monkeypatch.setattr(application, "RESPONSE_LIMIT", 1000)
    refused("images[1]", [image_of(1, 12, 12), image_of(1, 12, 12)])


def test_pictures_too_large_for_a_message_are_refused(monkeypatch):
    monkeypatch.setattr(application, "MESSAGE_LIMIT", 1000)
    assert "overlay" in refused("images[0]", [image_of(1, 14, 14)]).expected


def test_response_beyond_float32_is_refused():
    refused("images[0]", [np.full((1, 4, 4), 3e38, np.float32)], CustomKernel(np.full((1, 1), 1e10)))


def test_index_of_a_filter_out_of_range_is_refused(tiny):
    model = tiny().layer("conv", torch.randn(2, 3, 3, 3)).build()
    refused("kernel.layer.filters[1]", [image_of(3, 9, 9)], LayerKernel(TINY, "conv", filters=(0, 2)), model)


def test_unknown_layer_is_not_found(tiny):
    model = tiny().layer("conv", torch.randn(2, 3, 3, 3)).build()
    with pytest.raises(NotFound, match=r"kernel\.layer\.layer"):
        apply([image_of(3, 9, 9)], LayerKernel(TINY, "convolution"), model)


@pytest.mark.parametrize(
    ("function", "weight", "transposed"),
    [
        (F.conv1d, torch.randn(2, 3, 3), False),
        (F.linear, torch.randn(2, 3), False),
        (F.conv_transpose2d, torch.randn(3, 2, 3, 3), True),
        (F.conv2d, torch.randn(2, 8, 3, 3), False),
    ],
)
def test_layer_that_cannot_be_slid_over_pictures_is_refused(tiny, function, weight, transposed):
    model = tiny().layer("conv", weight, function=function, transposed=transposed).build()
    with pytest.raises(LayerUnusable) as caught:
        apply([image_of(3, 9, 9)], LayerKernel(TINY, "conv"), model)
    assert caught.value.field == "kernel.layer.layer"


def test_layer_reads_a_picture_of_its_own_channels_without_preprocessing(tiny):
    model = tiny().layer("conv", torch.randn(2, 8, 3, 3)).build()
    kernel = LayerKernel(TINY, "conv", preprocess=False)
    assert apply([image_of(8, 9, 9)], kernel, model).responses[0].values.shape == (2, 9, 9)
    refused("kernel.layer.layer", [image_of(3, 9, 9)], kernel, model)


def test_only_the_arithmetic_is_done_between_steps(monkeypatch):
    between = []

    def between_steps(work):
        between.append(True)
        answer = work()
        between.pop()
        return answer

    def outside(function):
        def checked(*arguments, **keywords):
            assert not between, f"{function.__name__} holds the steps up"
            return function(*arguments, **keywords)

        return checked

    def inside(function):
        def checked(*arguments, **keywords):
            assert between, f"{function.__name__} uses the device beside a step"
            return function(*arguments, **keywords)

        return checked

    for name in ("decode", "render", "parts_of"):
        monkeypatch.setattr(application, name, outside(getattr(application, name)))
    request = ApplyKernelRequest((TensorImage(image_of(3, 9, 12)),), NamedKernel("gaussian"))
    expected = apply_kernel(request, None, torch.device("cpu"))
    monkeypatch.setattr(application, "_respond", inside(application._respond))
    response = apply_kernel(request, None, torch.device("cpu"), between_steps=between_steps)
    np.testing.assert_array_equal(response.responses[0].values, expected.responses[0].values)
    assert response.responses[0].picture == expected.responses[0].picture


def test_large_picture_is_answered_in_several_short_pieces():
    pieces = []

    def between_steps(work):
        pieces.append(work)
        return work()

    request = ApplyKernelRequest(
        (TensorImage(image_of(2100, 2000)),), NamedKernel("sobel_x"), rendering=ResponseRendering(overlay=False)
    )
    apply_kernel(request, None, torch.device("cpu"), between_steps=between_steps)
    assert len(pieces) == 3


def test_error_of_a_piece_reaches_the_caller():
    request = ApplyKernelRequest((TensorImage(image_of(1, 9, 9)),), NamedKernel("sobel_x"))

    def between_steps(work):
        raise RuntimeError("the device is gone")

    with pytest.raises(RuntimeError, match="the device is gone"):
        apply_kernel(request, None, torch.device("cpu"), between_steps=between_steps)

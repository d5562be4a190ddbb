"""From pictures to a model's input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from phosphene_server.models.preprocessing import preprocess
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import Preprocessing

PLAIN = Preprocessing("rgb", 0.0, 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), ImageSize(6, 8), False)
PICTURES = torch.rand(2, 3, 12, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_mean_and_deviation_of_each_channel_are_taken_out() -> None:
    preprocessing = replace(PLAIN, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    expected = (PICTURES.numpy() - np.reshape(preprocessing.mean, (3, 1, 1))) / np.reshape(preprocessing.std, (3, 1, 1))
    np.testing.assert_allclose(preprocess(PICTURES, preprocessing).numpy(), expected)


def test_the_range_is_stretched_before_the_mean_is_taken() -> None:
    preprocessing = replace(PLAIN, low=0.0, high=255.0, mean=(123.0, 117.0, 104.0))
    assert preprocess(torch.ones(1, 3, 2, 2), preprocessing)[0, :, 0, 0].tolist() == [132.0, 138.0, 151.0]
    shifted = replace(PLAIN, low=-1.0, high=1.0)
    torch.testing.assert_close(preprocess(PICTURES, shifted), PICTURES * 2 - 1)


def test_bgr_is_the_reverse_order_with_numbers_in_the_order_of_the_model() -> None:
    preprocessing = replace(PLAIN, channel_order="bgr", mean=(0.1, 0.2, 0.3))
    red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    torch.testing.assert_close(preprocess(red, preprocessing).flatten(), torch.tensor([-0.1, -0.2, 0.7]))


def test_gray_is_the_luma_of_rec_601() -> None:
    preprocessing = replace(PLAIN, channel_order="gray", mean=(0.5,), std=(0.25,))
    gray = preprocess(torch.eye(3).reshape(3, 3, 1, 1), preprocessing)
    assert gray.shape == (3, 1, 1, 1)
    torch.testing.assert_close(gray.flatten() * 0.25 + 0.5, torch.tensor([0.299, 0.587, 0.114]))


def test_pictures_are_resized_only_where_the_model_takes_one_size() -> None:
    assert preprocess(PICTURES, PLAIN).shape == (2, 3, 12, 10)
    assert preprocess(PICTURES, replace(PLAIN, fixed_size=True)).shape == (2, 3, 6, 8)


def test_resizing_agrees_with_pillow() -> None:
    channel = PICTURES[0, 1].float()
    expected = np.asarray(Image.fromarray(channel.numpy()).resize((8, 6), Image.Resampling.BILINEAR))
    resized = preprocess(PICTURES.float(), replace(PLAIN, fixed_size=True))[0, 1]
    np.testing.assert_allclose(resized.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("order", ["rgb", "bgr", "gray"])
def test_gradients_agree_with_finite_differences(order: str) -> None:
    channels = 1 if order == "gray" else 3
    preprocessing = replace(
        PLAIN, channel_order=order, mean=(0.4,) * channels, std=(0.2,) * channels, size=ImageSize(3, 2), fixed_size=True
    )
    pictures = torch.rand(1, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda it: preprocess(it, preprocessing), pictures)


def test_channels_last_have_the_same_values_at_other_places() -> None:
    first = preprocess(PICTURES, PLAIN)
    assert torch.equal(preprocess(PICTURES, replace(PLAIN, layout="nhwc")), first.permute(0, 2, 3, 1))

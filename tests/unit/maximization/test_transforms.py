"""Transforms: against shifts and turns of whole pixels, and SciPy's affine transform."""

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from phosphene_server.maximization.randomness import torch_generator
from phosphene_server.maximization.transforms import (
    TRANSFORMS,
    Transform,
    compose,
    jitter,
    make_chain,
    noise,
    pad,
    rotate,
    sample,
    scale,
)
from phosphene_server.maximization.transforms.sampling import normalized_sampling
from phosphene_server.values import maximization as values
from phosphene_server.values.image import ImageSize


class FixedDraws(np.random.Generator):
    """Gives the numbers that a test wants instead of random ones."""

    def __init__(self, *draws: float) -> None:
        super().__init__(np.random.PCG64(0))
        self._draws = list(draws)

    def random(self, shape: tuple[int, int]) -> np.ndarray:  # type: ignore[override]  # the one form that is used
        return np.array([[self._draws.pop(0) for _ in range(shape[1])]])


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def transformed(pictures: Tensor, transforms: list[Transform], *draws: float) -> Tensor:
    chain = compose(transforms)
    size = ImageSize(*pictures.shape[2:])
    matrices = torch.from_numpy(chain.matrices(FixedDraws(*draws), 1, size))
    return sample(pictures, matrices, margin=chain.margin, border=chain.border)


def test_a_shift_by_whole_pixels_rolls_the_inside_of_the_picture(pictures: Tensor) -> None:
    moved = transformed(pictures, [jitter(pixels=4)], 0.875, 0.25)  # 3 columns to the right, 2 rows up
    torch.testing.assert_close(moved[..., :-2, 3:], pictures.roll((-2, 3), (2, 3))[..., :-2, 3:])


def test_a_fraction_is_a_share_of_each_side(pictures: Tensor) -> None:
    moved = transformed(pictures, [jitter(fraction=0.25)], 1.0, 1.0)  # 4 columns, 3 rows
    torch.testing.assert_close(moved[..., 3:, 4:], pictures[..., :-3, :-4])


def test_rotation_by_a_quarter_turns_the_picture_anticlockwise() -> None:
    square = torch.rand(1, 3, 9, 9, dtype=torch.float64)
    torch.testing.assert_close(transformed(square, [rotate(degrees=90)], 1.0), square.rot90(1, (2, 3)))


def test_rotation_keeps_right_angles_in_pictures_that_are_not_square(pictures: Tensor) -> None:
    turned = transformed(pictures, [rotate(degrees=90)], 1.0)
    torch.testing.assert_close(turned[..., :, 2:14], pictures.rot90(1, (2, 3))[..., 2:14, :])


def test_enlarging_three_times_shows_each_pixel_at_three_by_three() -> None:
    picture = torch.rand(1, 3, 9, 9, dtype=torch.float64)
    enlarged = transformed(picture, [scale(minimum=1, maximum=3)], 1.0)
    torch.testing.assert_close(enlarged[..., 1::3, 1::3], picture[..., 3:6, 3:6])


@pytest.mark.parametrize(("border", "mode", "beyond"), [("reflect", "reflect", 0.0), ("gray", "grid-constant", 0.5)])
def test_a_composed_map_agrees_with_scipy(pictures: Tensor, border: str, mode: str, beyond: float) -> None:
    draws = (0.3, 0.9, 0.8, 0.1)
    transforms = [scale(minimum=0.5, maximum=1.5), rotate(degrees=40), jitter(pixels=5), pad(pixels=2, border=border)]
    chain = compose(transforms)  # type: ignore[arg-type]  # the border comes from a parameter
    maps = np.eye(3)
    for transform, own in zip(chain.geometric, ((0.3,), (0.9,), (0.8, 0.1)), strict=True):
        maps = maps @ transform.sampling(np.array(own), ImageSize(12, 16))
    flipped = maps[[1, 0, 2]][:, [1, 0, 2]]  # SciPy takes rows before columns
    offset = flipped[:2, 2] + np.array([5.5, 7.5]) - flipped[:2, :2] @ np.array([7.5, 9.5])
    expected = scipy.ndimage.affine_transform(
        pictures[0, 1].numpy(), flipped[:2, :2], offset, (16, 20), order=1, mode=mode, cval=beyond
    )
    np.testing.assert_allclose(transformed(pictures, transforms, *draws)[0, 1].numpy(), expected, atol=1e-9)


def test_transforms_are_applied_in_their_order(pictures: Tensor) -> None:
    square = pictures[..., :12]
    first_shift = transformed(square, [jitter(pixels=3), rotate(degrees=90)], 1.0, 0.5, 1.0)
    torch.testing.assert_close(first_shift[..., :-3, :], square.roll(3, 3).rot90(1, (2, 3))[..., :-3, :])


def test_a_margin_shows_the_whole_picture_with_its_mirror_image_around(pictures: Tensor) -> None:
    padded = transformed(pictures, [pad(pixels=3, border="reflect")])
    torch.testing.assert_close(padded[..., 3:-3, 3:-3], pictures)
    torch.testing.assert_close(padded[..., 2, 3:-3], pictures[..., 0, :])


def test_a_gray_border_is_middle_gray(pictures: Tensor) -> None:
    padded = transformed(pictures, [pad(pixels=1, border="reflect"), pad(pixels=2, border="gray")])
    assert padded.shape == (1, 3, 18, 22)
    torch.testing.assert_close(padded[..., :2, :], torch.full_like(padded[..., :2, :], 0.5))


def test_gradients_reach_the_pictures_through_a_map() -> None:
    picture = torch.rand(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    maps = np.array([[[0.9, 0.2, 0.31], [-0.2, 0.9, -0.17], [0, 0, 1]]])
    matrices = torch.from_numpy(normalized_sampling(maps, ImageSize(4, 5), margin=1))
    assert torch.autograd.gradcheck(lambda it: sample(it, matrices, margin=1, border="reflect"), picture)


def test_noise_has_its_standard_deviation_and_follows_each_generator() -> None:
    flat = torch.full((2, 3, 128, 128), 0.5)
    noisy = compose([noise(standard_deviation=0.1)]).disturb(flat, [torch_generator(s, device="cpu") for s in (1, 1)])
    assert noisy.std().item() == pytest.approx(0.1, rel=0.02)
    assert torch.equal(noisy[0], noisy[1])


def test_factors_of_a_scale_stay_between_its_limits_and_their_logarithms_are_even() -> None:
    draws = np.linspace(0, 1, 101)[:, None]
    factors = 1 / scale(minimum=0.5, maximum=2.0).sampling(draws, ImageSize(8, 8))[:, 0, 0]
    np.testing.assert_allclose(np.diff(np.log(factors)), np.log(4) / 100)
    assert (factors.min(), factors.max()) == (0.5, 2.0)


def test_a_chain_without_geometry_and_margin_does_not_sample() -> None:
    assert not make_chain(values.Transforms((values.NoiseTransform(0.1),))).moves
    assert make_chain(values.Transforms((values.PadTransform(1),))).moves


def test_the_table_has_every_kind_of_transform_that_a_request_may_name() -> None:
    union = values.Transform.__origin__  # type: ignore[attr-defined]  # of Annotated
    assert set(TRANSFORMS) == {case.kind for case in union.__args__}

"""Transforms: against shifts and turns of whole pixels, and SciPy's affine transform."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.maximization.transforms import (
    TRANSFORMS,
    Border,
    Chain,
    Transform,
    compose,
    jitter,
    make_chain,
    noise,
    pad,
    resize,
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
    return chain.view(size).show(pictures, matrices)


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
    assert torch.autograd.gradcheck(lambda it: sample(it, matrices, size=ImageSize(6, 7), border="reflect"), picture)


def disturbed(flat: Tensor, chain: Chain, draws: Tensor) -> Tensor:
    numbers = torch.tensor([chain.numbers] * len(flat), dtype=flat.dtype)
    return chain.disturb(flat, numbers, draws)


def test_noise_is_normally_distributed_with_its_standard_deviation() -> None:
    flat = torch.full((1, 3, 128, 128), 0.5)
    chain = compose([noise(standard_deviation=0.1)])
    noisy = torch.cat([disturbed(flat, chain, torch.tensor([[draw]])) for draw in (0.0, 0.3, 0.9999999)]) - 0.5
    assert scipy.stats.kstest(noisy.flatten().numpy()[::7] / 0.1, "norm").pvalue > 0.01
    assert noisy[0].std().item() == pytest.approx(0.1, rel=0.02)


def test_noise_follows_its_draw_and_is_unlike_that_of_any_other() -> None:
    flat = torch.full((3, 3, 64, 64), 0.5)
    chain = compose([noise(standard_deviation=0.1)])
    noisy = disturbed(flat, chain, torch.tensor([[0.25], [0.25], [0.26]]))
    assert torch.equal(noisy[0], noisy[1])
    assert abs(torch.corrcoef(noisy[1:].flatten(1))[0, 1].item()) < 0.03


def test_each_picture_has_noise_of_its_own_strength() -> None:
    chain = compose([noise(standard_deviation=0.1)])
    flat = torch.full((2, 3, 64, 64), 0.5, dtype=torch.float64)
    noisy = chain.disturb(flat, torch.tensor([[0.0], [0.2]]).double(), torch.tensor([[0.5], [0.5]]).double())
    assert torch.equal(noisy[0], flat[0])
    assert noisy[1].std().item() == pytest.approx(0.2, rel=0.03)


def test_a_draw_that_was_rounded_up_to_one_still_finds_noise() -> None:
    flat = torch.full((1, 3, 8, 8), 0.5)
    assert disturbed(flat, compose([noise(standard_deviation=0.1)]), torch.ones(1, 1)).isfinite().all()


def test_factors_of_a_scale_stay_between_its_limits_and_their_logarithms_are_even() -> None:
    draws = np.linspace(0, 1, 101)[:, None]
    factors = 1 / scale(minimum=0.5, maximum=2.0).sampling(draws, ImageSize(8, 8))[:, 0, 0]
    np.testing.assert_allclose(np.diff(np.log(factors)), np.log(4) / 100)
    assert (factors.min(), factors.max()) == (0.5, 2.0)


def test_a_chain_without_geometry_and_margin_does_not_sample() -> None:
    size = ImageSize(8, 8)
    assert not make_chain(values.Transforms((values.NoiseTransform(0.1),))).view(size).moves
    assert not make_chain(values.Transforms((values.ResizeTransform(size),))).view(size).moves
    assert make_chain(values.Transforms((values.PadTransform(1),))).view(size).moves


@pytest.mark.parametrize("seen", [ImageSize(24, 40), ImageSize(7, 9)])
def test_a_size_at_which_pictures_are_seen_is_bilinear_interpolation(pictures: Tensor, seen: ImageSize) -> None:
    expected = F.interpolate(pictures, (seen.height, seen.width), mode="bilinear", align_corners=False)
    torch.testing.assert_close(transformed(pictures, [resize(size=seen)]), expected)


def test_a_resized_canvas_has_its_margins_in_it(pictures: Tensor) -> None:
    padded = transformed(pictures, [pad(pixels=2, border="gray")])
    both = transformed(pictures, [resize(size=ImageSize(32, 40)), pad(pixels=2, border="gray")])
    expected = F.interpolate(padded, (32, 40), mode="bilinear", align_corners=False)
    torch.testing.assert_close(both[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2])


def test_pictures_as_they_are_have_no_margin_but_the_size_that_the_network_wants() -> None:
    chain = compose([pad(pixels=2, border="gray"), resize(size=ImageSize(32, 40))])
    assert chain.view(ImageSize(8, 8)).size == ImageSize(32, 40)
    assert chain.plain_view(ImageSize(8, 8)).size == ImageSize(32, 40)
    assert compose([pad(pixels=2, border="gray")]).plain_view(ImageSize(8, 8)).size == ImageSize(8, 8)


@pytest.mark.parametrize("border", ["reflect", "gray"])
def test_pictures_that_are_drawn_on_several_threads_are_those_of_one(border: Border) -> None:
    batch = torch.rand(1, 3, 20, 24, dtype=torch.float64, requires_grad=True)
    matrices = torch.tensor([[[0.8, 0.3, 0.1], [-0.3, 0.8, -0.2]]], dtype=torch.float64)
    outcomes = []
    threads = torch.get_num_threads()
    for count in (1, 4):
        torch.set_num_threads(count)
        drawn = sample(batch, matrices, size=ImageSize(16, 16), border=border)
        outcomes.append((drawn.detach(), *torch.autograd.grad(drawn.square().sum(), batch)))
    torch.set_num_threads(threads)
    torch.testing.assert_close(outcomes[0], outcomes[1])


def test_the_table_has_every_kind_of_transform_that_a_request_may_name() -> None:
    union = values.Transform.__origin__  # type: ignore[attr-defined]  # of Annotated
    assert set(TRANSFORMS) == {case.kind for case in union.__args__}

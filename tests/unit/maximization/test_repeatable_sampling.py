"""The gradient in fixed point against that of torch."""

import pytest
import torch
import torch.nn.functional as F

from phosphene_server.maximization.transforms.repeatable_sampling import Padding, RepeatableGridSample


@pytest.mark.parametrize("padding", ["reflection", "zeros"])
@pytest.mark.parametrize("reach", [0.7, 1.0, 4.0])
def test_values_and_gradients_agree_with_torch(padding: Padding, reach: float) -> None:
    generator = torch.Generator().manual_seed(0)
    grid = (2 * torch.rand(2, 15, 17, 2, generator=generator, dtype=torch.float64) - 1) * reach
    wanted = torch.randn(2, 3, 15, 17, generator=generator, dtype=torch.float64)
    pictures = torch.rand(2, 3, 9, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    drawn = RepeatableGridSample.apply(pictures, grid, padding)
    expected = F.grid_sample(pictures, grid, padding_mode=padding, align_corners=False)
    torch.testing.assert_close(drawn, expected)
    (gradient,) = torch.autograd.grad(drawn, pictures, wanted)
    (expected_gradient,) = torch.autograd.grad(expected, pictures, wanted)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-8)


def test_the_gradient_does_not_depend_on_the_order_of_the_sum() -> None:
    generator = torch.Generator().manual_seed(1)
    grid = 0.2 * torch.randn(1, 1, 4000, 2, generator=generator)
    wanted = torch.randn(1, 3, 1, 4000, generator=generator) * torch.logspace(-6, 6, 4000)
    order = torch.randperm(4000, generator=generator)
    gradients = []
    for places, values in ((grid, wanted), (grid[:, :, order], wanted[..., order])):
        pictures = torch.zeros(1, 3, 5, 5, requires_grad=True)
        drawn = RepeatableGridSample.apply(pictures, places, "reflection")
        gradients.append(torch.autograd.grad(drawn, pictures, values)[0])
    assert torch.equal(gradients[0], gradients[1])


def test_a_picture_without_gradient_stays_without() -> None:
    pictures = torch.rand(2, 3, 4, 4, requires_grad=True)
    drawn = RepeatableGridSample.apply(pictures, torch.zeros(2, 4, 4, 2), "zeros")
    assert not torch.autograd.grad(drawn, pictures, torch.zeros_like(drawn))[0].any()


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_a_gradient_that_is_not_finite_stays_so_and_harms_no_other_picture(value: float) -> None:
    pictures = torch.rand(2, 3, 4, 4, requires_grad=True)
    drawn = RepeatableGridSample.apply(pictures, torch.zeros(2, 4, 4, 2), "zeros")
    wanted = torch.ones_like(drawn)
    wanted[0, 1, 2, 3] = value
    (gradient,) = torch.autograd.grad(drawn, pictures, wanted)
    assert not gradient[0].isfinite().any()
    assert gradient[1].sum() == pytest.approx(48.0)


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1.0, 1e30])
def test_a_gradient_of_any_size_keeps_its_precision(scale: float) -> None:
    generator = torch.Generator().manual_seed(2)
    grid = 2 * torch.rand(2, 15, 17, 2, generator=generator) - 1
    wanted = torch.randn(2, 3, 15, 17, generator=generator)
    gradients = []
    for dtype, factor in ((torch.float32, scale), (torch.float64, 1.0)):
        pictures = torch.zeros(2, 3, 9, 12, dtype=dtype, requires_grad=True)
        drawn = RepeatableGridSample.apply(pictures, grid.to(dtype), "reflection")
        gradients.append(torch.autograd.grad(drawn, pictures, wanted.to(dtype) * factor)[0].double() / factor)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)

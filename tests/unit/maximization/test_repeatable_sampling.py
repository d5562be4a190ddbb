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

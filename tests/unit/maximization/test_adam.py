"""Adam: against torch.optim."""

import pytest
import torch
from torch import Tensor

from phosphene_server.maximization.adam import Moments, ascend, coefficients
from phosphene_server.values.maximization import AdamOptimizer

OPTIMIZERS = (AdamOptimizer(0.05), AdamOptimizer(0.3, beta1=0.5, beta2=0.9), AdamOptimizer(0.01, beta1=0.0))


def rows_at(step: int) -> Tensor:
    """The numbers of the three optimizers at a step."""
    return torch.stack([torch.from_numpy(coefficients(it, first_step=step, count=1))[0] for it in OPTIMIZERS])


def zeros(parameters: Tensor) -> Moments:
    return Moments(torch.zeros_like(parameters), torch.zeros_like(parameters))


def test_each_picture_moves_as_under_an_adam_of_its_own() -> None:
    start = torch.randn(3, 4, 5, dtype=torch.float64)
    gradients = torch.randn(40, 3, 4, 5, dtype=torch.float64)
    parameters, moments = start, zeros(start)
    for step, gradient in enumerate(gradients):
        parameters, moments = ascend(parameters, gradient, moments, rows_at(step))
    for index, settings in enumerate(OPTIMIZERS):
        expected = start[index].clone().requires_grad_()
        adam = torch.optim.Adam(
            [expected], settings.learning_rate, (settings.beta1, settings.beta2), maximize=True, foreach=False
        )
        for gradient in gradients:
            expected.grad = gradient[index]
            adam.step()
        torch.testing.assert_close(parameters[index], expected.detach())


def test_the_first_step_is_as_long_as_the_learning_rate() -> None:
    parameters = torch.zeros(3, 2, dtype=torch.float64)
    moved, _ = ascend(parameters, torch.tensor([[1e-3, -50.0]] * 3).double(), zeros(parameters), rows_at(0))
    torch.testing.assert_close(moved[:, 0], torch.tensor([0.05, 0.3, 0.01]).double(), rtol=1e-4, atol=0)
    torch.testing.assert_close(moved[:, 1], -torch.tensor([0.05, 0.3, 0.01]).double())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing_and_is_forgotten(bad: float) -> None:
    parameters = torch.ones(3, 2)
    gradient = torch.ones(3, 2)
    gradient[1, 0] = bad
    moved, moments = ascend(parameters, gradient, zeros(parameters), rows_at(0).float())
    assert torch.equal(moved[1], parameters[1])
    assert torch.equal(moments.mean[1], torch.zeros(2))
    assert (moved[[0, 2]] > 1).all()

"""Adam: against torch.optim."""

import torch
from torch import Tensor

from phosphene_server.maximization.optimizers import OPTIMIZERS, make_optimizer
from phosphene_server.values.maximization import AdamOptimizer

SETTINGS = (AdamOptimizer(0.05), AdamOptimizer(0.3, beta1=0.5, beta2=0.9), AdamOptimizer(0.01, beta1=0.0))


def numbers_at(step: int) -> Tensor:
    """The numbers of the three optimizers at a step."""
    return torch.stack([torch.from_numpy(make_optimizer(it).numbers(step, 1))[0] for it in SETTINGS])


def test_each_picture_moves_as_under_an_adam_of_its_own() -> None:
    start = torch.randn(3, 4, 5, dtype=torch.float64)
    gradients = torch.randn(40, 3, 4, 5, dtype=torch.float64)
    optimizer = make_optimizer(SETTINGS[0])
    parameters, memory = start, optimizer.start(start)
    for step, gradient in enumerate(gradients):
        parameters, memory = optimizer.move(parameters, gradient, memory, numbers_at(step))
    for index, settings in enumerate(SETTINGS):
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
    optimizer = make_optimizer(SETTINGS[0])
    gradient = torch.tensor([[1e-3, -50.0]] * 3).double()
    moved, _ = optimizer.move(parameters, gradient, optimizer.start(parameters), numbers_at(0))
    torch.testing.assert_close(moved[:, 0], torch.tensor([0.05, 0.3, 0.01]).double(), rtol=1e-4, atol=0)
    torch.testing.assert_close(moved[:, 1], -torch.tensor([0.05, 0.3, 0.01]).double())


def test_the_table_has_every_kind_of_optimizer_that_a_request_may_name() -> None:
    assert set(OPTIMIZERS) == {AdamOptimizer().kind}

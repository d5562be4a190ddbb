"""Penalties: values in closed form, gradients in float64."""

import pytest
import torch
from torch import Tensor

from phosphene_server.maximization.penalties import PENALTIES, Penalty, l1, l2, total_variation
from phosphene_server.values import maximization as values


@pytest.fixture
def pictures() -> Tensor:
    return torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)


def test_total_variation_of_flat_pictures_is_zero() -> None:
    assert total_variation()(torch.full((2, 3, 8, 8), 0.3)).tolist() == [0.0, 0.0]


def test_total_variation_of_two_halves_is_the_share_of_the_edge() -> None:
    halves = torch.zeros(1, 3, 6, 8)
    halves[..., 4:] = 1.0
    torch.testing.assert_close(total_variation()(halves), torch.tensor([1 / 7]))


def test_l1_and_l2_are_zero_at_middle_gray_and_largest_at_black_and_white() -> None:
    gray, white = torch.full((1, 3, 4, 4), 0.5), torch.ones(1, 3, 4, 4)
    assert (l1()(gray).item(), l2()(gray).item()) == (0.0, 0.0)
    assert (l1()(white).item(), l2()(white).item()) == (0.5, 0.25)


def test_the_gradient_of_l1_and_l2_has_its_closed_form(pictures: Tensor) -> None:
    (of_l1,) = torch.autograd.grad(l1()(pictures).sum(), pictures)
    (of_l2,) = torch.autograd.grad(l2()(pictures).sum(), pictures)
    torch.testing.assert_close(of_l1, (pictures - 0.5).sign() / 60)
    torch.testing.assert_close(of_l2, 2 * (pictures - 0.5) / 60)


@pytest.mark.parametrize("penalty", [total_variation(), l1(), l2()])
def test_the_gradient_of_a_penalty_agrees_with_finite_differences(penalty: Penalty, pictures: Tensor) -> None:
    assert torch.autograd.gradcheck(penalty, pictures)


def test_the_table_has_every_kind_of_penalty_that_a_request_may_name() -> None:
    union = values.Penalty.__origin__  # type: ignore[attr-defined]  # of Annotated
    assert set(PENALTIES) == {case.kind for case in union.__args__}

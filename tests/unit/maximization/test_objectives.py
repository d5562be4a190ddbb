"""Objectives: what they are the gradient of, in float64."""

import pytest
import torch
from torch import Tensor

from phosphene_server.maximization.objectives import (
    OBJECTIVES,
    Objective,
    channel,
    class_logit,
    layer,
    make_objective,
    neuron,
    weighted_sum,
)
from phosphene_server.values import maximization as values


@pytest.fixture
def activation() -> Tensor:
    return torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)


def gradient(objective: Objective, activation: Tensor) -> Tensor:
    (result,) = torch.autograd.grad(objective({"conv": activation}).sum(), activation)
    return result


def test_channel_is_the_mean_of_the_channel_and_rises_evenly_with_each_of_its_positions(activation: Tensor) -> None:
    objective = channel(layer="conv", channel=2)
    expected = torch.zeros_like(activation)
    expected[:, 2] = 1 / 30
    torch.testing.assert_close(objective({"conv": activation}), activation[:, 2].mean(dim=(1, 2)))
    torch.testing.assert_close(gradient(objective, activation), expected)


def test_neuron_is_one_position_and_nothing_else_moves_it(activation: Tensor) -> None:
    objective = neuron(layer="conv", channel=1, row=4, column=2)
    expected = torch.zeros_like(activation)
    expected[:, 1, 4, 2] = 1
    torch.testing.assert_close(objective({"conv": activation}), activation[:, 1, 4, 2])
    torch.testing.assert_close(gradient(objective, activation), expected)


def test_neuron_without_a_position_is_the_one_at_the_centre(activation: Tensor) -> None:
    objective = neuron(layer="conv", channel=1, row=None, column=None)
    torch.testing.assert_close(objective({"conv": activation}), activation[:, 1, 2, 3])
    assert objective.key != neuron(layer="conv", channel=1, row=2, column=3).key


def test_layer_is_the_mean_square_of_the_whole_layer(activation: Tensor) -> None:
    objective = layer(layer="conv")
    torch.testing.assert_close(objective({"conv": activation}), activation.square().mean(dim=(1, 2, 3)))
    torch.testing.assert_close(gradient(objective, activation), 2 * activation / 120)


def test_class_logit_of_a_layer_without_space_is_the_logit() -> None:
    logits = torch.randn(3, 10, dtype=torch.float64, requires_grad=True)
    objective = class_logit(layer="conv", index=7)
    torch.testing.assert_close(objective({"conv": logits}), logits[:, 7])
    assert gradient(objective, logits).nonzero().tolist() == [[0, 7], [1, 7], [2, 7]]


def test_weighted_sum_adds_values_and_gradients_with_their_weights(activation: Tensor) -> None:
    parts = channel(layer="conv", channel=0), neuron(layer="conv", channel=3, row=0, column=0)
    objective = weighted_sum(terms=[(0.5, parts[0]), (-2.0, parts[1])])
    expected = 0.5 * gradient(parts[0], activation) - 2 * gradient(parts[1], activation)
    torch.testing.assert_close(gradient(objective, activation), expected)
    assert objective.layers == {"conv"}


def test_the_gradient_of_every_objective_agrees_with_finite_differences() -> None:
    activation = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    terms = (channel(layer="conv", channel=0), layer(layer="conv"), neuron(layer="conv", channel=1, row=1, column=0))
    for objective in (*terms, weighted_sum(terms=[(1.5, terms[0]), (-1.0, terms[1])])):
        assert torch.autograd.gradcheck(lambda values, it=objective: it({"conv": values}), activation)


def test_an_objective_of_a_picture_does_not_depend_on_the_other_pictures(activation: Tensor) -> None:
    objective = weighted_sum(terms=[(1.0, layer(layer="conv")), (2.0, channel(layer="conv", channel=1))])
    alone = torch.cat([objective({"conv": activation[index : index + 1]}) for index in range(2)])
    torch.testing.assert_close(objective({"conv": activation}), alone)


def test_nested_sums_are_made_of_values_with_the_logits_layer_of_the_model() -> None:
    term = values.WeightedObjective(values.ClassLogitObjective(index=3), 2.0)
    inner = values.WeightedObjective(values.WeightedSumObjective((term,)), -1.0)
    made = make_objective(values.WeightedSumObjective((inner,)), logits_layer="fc")
    assert made.layers == {"fc"}
    torch.testing.assert_close(made({"fc": torch.eye(5)}), torch.tensor([0.0, 0, 0, -2, 0]))


def test_the_table_has_every_kind_of_objective_that_a_request_may_name() -> None:
    union = values.Objective.__origin__  # type: ignore[attr-defined]  # of Annotated
    assert set(OBJECTIVES) == {case.kind for case in union.__args__}

"""The algebra of objectives, and their way to the wire and back."""

import numpy as np
import pytest

from phosphene import errors, objectives
from phosphene._wire.objectives import decode_objective, encode_objective
from phosphene.objectives import WeightedSum

A = objectives.channel("conv3", 5)
B = objectives.class_logit("ring")


def test_a_difference_with_a_factor():
    assert WeightedSum(((0.5, A), (-1.0, B))) == 0.5 * A - B


def test_factors_multiply_through_sums():
    assert WeightedSum(((0.5, A), (-1.5, B))) == 2 * (A - 3 * B) / 4


def test_a_sign_changes_every_term():
    assert WeightedSum(((-1.0, A), (-1.0, B))) == -(A + B)
    assert +A == A


def test_sum_adds_a_list():
    assert sum([A, B, A]) == WeightedSum(((1.0, A), (1.0, B), (1.0, A)))
    assert sum([A]) == A


def test_numbers_of_numpy_are_factors_from_either_side():
    assert np.float64(0.5) * A == A * np.float32(0.5) == WeightedSum(((0.5, A),))


def test_only_objectives_can_be_added():
    with pytest.raises(TypeError):
        A + 1
    with pytest.raises(TypeError):
        1 + A
    with pytest.raises(TypeError):
        A - "ring"


@pytest.mark.parametrize(
    "objective",
    [
        A,
        B,
        objectives.class_logit(3),
        objectives.layer("conv1"),
        objectives.neuron("conv1", 2),
        objectives.neuron("conv1", 2, 0, 7),
        0.5 * A - B + objectives.neuron("fc", 1, row=0),
        WeightedSum(((1.0, A + B), (2.0, B))),
    ],
)
def test_an_objective_survives_the_wire(objective):
    assert decode_objective(encode_objective(objective)) == objective


def test_a_position_that_is_not_given_is_left_to_the_server():
    message = encode_objective(objectives.neuron("conv1", 2)).neuron
    assert not message.HasField("row")
    assert encode_objective(objectives.neuron("conv1", 2, 0, 0)).neuron.HasField("row")


@pytest.mark.parametrize(
    ("objective", "field"),
    [
        (objectives.channel("conv1", -1), "objective.channel.channel"),
        (objectives.channel("conv1", 1.5), "objective.channel.channel"),
        (objectives.channel(3, 1), "objective.channel.layer"),
        (B + objectives.neuron("conv1", 1, -2), "objective.weighted_sum.terms[1].objective.neuron.row"),
        (objectives.class_logit(-1), "objective.class_logit.index"),
        ("star", "objective"),
    ],
)
def test_a_value_that_no_field_can_hold_is_named(objective, field):
    with pytest.raises(errors.InvalidArgument, match="expected") as caught:
        encode_objective(objective)
    assert caught.value.field == field

"""What the inputs of a model that are no picture take, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phosphene_server.errors import ModelUnusable
from phosphene_server.models.inputs import Reading, fitted, read_inputs
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import ModelReference, NamedTensor, Preprocessing, TensorSpecification
from phosphene_server.values.work import ModelSource

SIZE = ImageSize(6, 8)
PLAIN = Preprocessing("rgb", 0.0, 1.0, (0.0,) * 3, (1.0,) * 3, SIZE, False)
SOURCE = ModelSource(ModelReference("two", "1", "onnx"), Path("model.onnx"), "", 0, "", PLAIN, (), "")
INPUTS = (
    TensorSpecification("picture", "float32", (-1, 3, -1, -1)),
    TensorSpecification("mask", "float16", (-1, 1, -1, -1)),
    TensorSpecification("steps", "int64", (2,)),
)
MASK, STEPS = 1, 2


@pytest.fixture
def reading() -> Reading:
    return read_inputs(SOURCE, INPUTS)


def test_inputs_whose_first_length_is_that_of_the_pictures_have_a_batch_axis(reading):
    assert (reading.picture, reading.shared(), reading.required) == (0, frozenset({STEPS}), ("mask", "steps"))


def test_a_number_fills_the_input_at_the_size_of_the_picture(reading):
    value = fitted(reading, MASK, np.asarray(0.5), SIZE, batched=True)
    assert (value.shape, value.dtype) == ((1, 1, 6, 8), np.float32)
    assert (value == 0.5).all()


@pytest.mark.parametrize("shape", [(1, 6, 8), (1, 1, 6, 8), (3, 1, 6, 8)])
def test_the_batch_axis_may_be_left_out(reading, shape):
    value = fitted(reading, MASK, np.zeros(shape), SIZE, batched=True)
    assert value.shape == (shape if len(shape) == 4 else (1, *shape))


@pytest.mark.parametrize(
    ("position", "value", "expected"),
    [
        (MASK, np.zeros((6, 8)), r"float16 of shape \(any, 1, any, any\), or one number"),
        (MASK, np.zeros((2, 6, 8)), "of shape"),
        (STEPS, np.zeros(3), r"int64 of shape \(2\)"),
        (STEPS, np.asarray([0.5, 1.0]), "numbers that int64 holds"),
        (STEPS, np.asarray(np.nan), "numbers that int64 holds"),
    ],
)
def test_what_does_not_fit_tells_what_would(reading, position, value, expected):
    with pytest.raises(ValueError, match=expected):
        fitted(reading, position, value, SIZE, batched=position == MASK)


def test_whole_numbers_may_come_as_any_type(reading):
    assert fitted(reading, STEPS, np.asarray([1.0, 2.0]), SIZE, batched=False).dtype == np.int64


def test_the_picture_is_what_the_manifest_names(reading):
    source = replace(SOURCE, left_open=frozenset({"channel_order"}), picture_input="mask")
    reading = read_inputs(source, INPUTS)
    assert (reading.picture, reading.preprocessing.channel_order) == (1, "gray")


def test_colours_come_before_a_mask():
    open_order = replace(SOURCE, left_open=frozenset({"channel_order"}))
    assert read_inputs(open_order, (INPUTS[1], INPUTS[0])).picture == 1
    assert read_inputs(SOURCE, (INPUTS[1], INPUTS[0])).picture == 1


def test_floating_point_numbers_come_before_whole_ones():
    whole = TensorSpecification("classes", "int64", (-1, 3, -1, -1))
    assert read_inputs(SOURCE, (whole, INPUTS[0])).picture == 1
    assert read_inputs(SOURCE, (whole,)).picture == 0


def test_defaults_of_the_manifest_need_no_request(reading):
    given = (NamedTensor("mask", np.asarray(1.0)), NamedTensor("steps", np.asarray([3, 4])))
    assert read_inputs(replace(SOURCE, other_inputs=given), INPUTS).required == ()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("maks", 1.0, "it has no other input 'maks'; its other inputs are mask, steps"),
        ("picture", 1.0, "no other input 'picture'"),
        ("steps", [1, 2, 3], r"other_inputs.steps: expected int64 of shape \(2\), or one number, got numbers of shape"),
        ("mask", np.zeros((2, 1, 6, 8)).tolist(), "one value for all pictures"),
    ],
)
def test_a_wrong_default_is_told_with_its_field(name, value, message):
    with pytest.raises(ModelUnusable, match=message):
        read_inputs(replace(SOURCE, other_inputs=(NamedTensor(name, np.asarray(value)),)), INPUTS)

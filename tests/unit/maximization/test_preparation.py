"""Preparation: every wrong field is named, every open one filled in."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from phosphene_server.errors import InvalidArgument, LayerUnusable, NotFound, PhospheneError, Unsupported
from phosphene_server.maximization.ascent import Ascent
from phosphene_server.maximization.preparation import prepare
from phosphene_server.maximization.stepping import step
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values import maximization as values
from phosphene_server.values.image import ImageEncoding, ImageSize
from phosphene_server.values.maximization import MaximizeActivationRequest
from phosphene_server.values.model import Layer, ModelReference, TensorSpecification
from tests.unit.maximization.conftest import PREPROCESSING, loaded, tiny_graph


def ask(objective: values.Objective | None = None, **settings: Any) -> MaximizeActivationRequest:
    """A request as a caller sends it."""
    return MaximizeActivationRequest(ModelReference("tiny"), objective or values.ChannelObjective("conv2"), **settings)


def nested(objective: values.Objective, levels: int) -> values.Objective:
    """An objective under a number of weighted sums."""
    for _ in range(levels):
        objective = values.WeightedSumObjective((values.WeightedObjective(objective),))
    return objective


def refusal(model: LoadedModel, request: MaximizeActivationRequest) -> PhospheneError:
    with pytest.raises(PhospheneError) as caught:
        prepare(model, request)
    return caught.value


def test_what_is_unset_is_filled_in(model: LoadedModel) -> None:
    prepared = prepare(model, ask(values.NeuronObjective("conv2", 1), frames=values.FrameOptions()))
    assert prepared.model == ModelReference("tiny", "1", "onnx")
    assert prepared.size == ImageSize(16, 16)
    assert prepared.seed is not None
    assert prepared.objective == values.NeuronObjective("conv2", 1, 3, 3)  # of 7 by 7
    assert prepared.frames == values.FrameOptions(every_steps=16, encoding=ImageEncoding("webp"))
    assert prepared.result.encoding.format == "png"


def test_what_is_set_is_kept_and_a_prepared_request_is_complete(model: LoadedModel) -> None:
    frames = values.FrameOptions(interval=0.5, encoding=ImageEncoding("jpeg", 50))
    request = ask(size=ImageSize(20, 24), seed=5, frames=frames)
    prepared = prepare(model, request)
    assert (prepared.size, prepared.seed, prepared.frames) == (ImageSize(20, 24), 5, frames)
    assert prepare(model, prepared) == prepared


def test_a_prepared_request_sent_again_gives_the_same_pictures(model: LoadedModel) -> None:
    prepared = prepare(model, ask(values.ClassLogitObjective(label="hen")))
    ascents = [Ascent(model, prepared), Ascent(model, prepare(model, prepared))]
    for ascent in ascents:
        step([ascent])
    assert torch.equal(ascents[0].images(), ascents[1].images())


def test_seeds_that_the_service_chooses_differ(model: LoadedModel) -> None:
    assert prepare(model, ask()).seed != prepare(model, ask()).seed


@pytest.mark.parametrize("label", ["tench, Tinca tinca", "TENCH", "tinca tinca"])
def test_a_class_is_found_by_its_label_or_a_synonym_in_any_case(model: LoadedModel, label: str) -> None:
    assert prepare(model, ask(values.ClassLogitObjective(label=label))).objective == values.ClassLogitObjective(0)


def test_an_unknown_layer_is_not_found_with_its_path_and_the_nearest_names(model: LoadedModel) -> None:
    terms = (
        values.WeightedObjective(values.LayerObjective("conv1")),
        values.WeightedObjective(values.ChannelObjective("cnv2")),
    )
    error = refusal(model, ask(values.WeightedSumObjective(terms)))
    assert isinstance(error, NotFound)
    assert error.field == "objective.weighted_sum.terms[1].objective.channel.layer"
    assert error.nearest[0] == "conv2"


def test_an_unknown_class_is_not_found_with_the_nearest_labels(model: LoadedModel) -> None:
    error = refusal(model, ask(values.ClassLogitObjective(label="goldfsh")))
    assert isinstance(error, NotFound)
    assert (error.field, error.nearest[0]) == ("objective.class_logit.label", "goldfish")


@pytest.mark.parametrize(
    ("objective", "field", "value", "expected"),
    [
        (values.ChannelObjective("conv2", 6), "objective.channel.channel", "6", "0 to 5"),
        (values.NeuronObjective("conv2", 9), "objective.neuron.channel", "9", "0 to 5"),
        (values.NeuronObjective("conv2", 0, row=7), "objective.neuron.row", "7", "0 to 6"),
        (values.NeuronObjective("conv2", 0, column=8), "objective.neuron.column", "8", "0 to 6"),
        (values.NeuronObjective("logits", 0, row=1), "objective.neuron.row", "1", "nothing"),
        (values.ClassLogitObjective(index=5), "objective.class_logit.index", "5", "0 to 4"),
    ],
)
def test_an_objective_out_of_range_names_field_value_and_range(
    model: LoadedModel, objective: values.Objective, field: str, value: str, expected: str
) -> None:
    error = refusal(model, ask(objective))
    assert isinstance(error, InvalidArgument)
    assert (error.field, error.value) == (field, value)
    assert expected in error.expected


def test_positions_are_checked_at_the_size_asked_for(model: LoadedModel) -> None:
    objective = values.NeuronObjective("conv2", 0, row=12, column=3)
    assert prepare(model, ask(objective, size=ImageSize(32, 16))).objective == objective
    padded = values.Transforms((values.PadTransform(8),))
    assert prepare(model, ask(objective, transforms=padded)).objective == objective


def test_each_part_of_a_nested_sum_is_prepared(model: LoadedModel) -> None:
    prepared = prepare(model, ask(nested(values.NeuronObjective("conv2", 1), 4))).objective
    assert prepared == nested(values.NeuronObjective("conv2", 1, 3, 3), 4)


def test_a_picture_that_is_too_small_for_the_network_is_refused_with_a_size_that_is_not() -> None:
    builder = GraphBuilder()
    output = builder.call(F.max_pool2d, builder.input("picture"), 12)
    builder.layer("pool", "max_pool", output)
    specification = TensorSpecification("picture", "float32", (-1, 3, -1, -1))
    graph = builder.build([output], input_specifications=[specification], output_specifications=[])
    error = refusal(loaded(graph), ask(values.LayerObjective("pool"), size=ImageSize(8, 9)))
    assert isinstance(error, InvalidArgument)
    assert (error.field, error.value) == ("size", "8x9")
    assert "16x16" in error.expected


def test_a_model_of_one_size_takes_pictures_of_any(model: LoadedModel) -> None:
    fixed = loaded(model.graph, preprocessing=replace(PREPROCESSING, fixed_size=True))
    prepared = prepare(fixed, ask(values.NeuronObjective("conv2"), size=ImageSize(64, 64)))
    assert prepared.objective == values.NeuronObjective("conv2", 0, 3, 3)


def test_a_model_that_tells_no_logits_has_no_classes() -> None:
    error = refusal(loaded(tiny_graph(), logits_layer=""), ask(values.ClassLogitObjective(index=0)))
    assert isinstance(error, InvalidArgument)
    assert error.field == "objective.class_logit"


def test_a_layer_that_pictures_do_not_reach_cannot_be_maximised() -> None:
    builder = GraphBuilder()
    output = builder.call(torch.relu, builder.input("picture"))
    builder.layer("weight", "constant", builder.tensor("weight", torch.ones(2, 3)))
    specification = TensorSpecification("picture", "float32", (-1, 3, -1, -1))
    graph = builder.build([output], input_specifications=[specification], output_specifications=[])
    error = refusal(loaded(graph), ask(values.LayerObjective("weight")))
    assert isinstance(error, LayerUnusable)
    assert error.field == "objective.layer.layer"


def test_a_layer_whose_gradient_is_cut_off_cannot_be_maximised() -> None:
    whole = loaded(tiny_graph())
    rows = (Layer("conv1", "convolution", (4, 30, 30), 0, gradient_reaches_input=False),)
    error = refusal(replace(whole, model=replace(whole.model, layers=rows)), ask(values.LayerObjective("conv1")))
    assert isinstance(error, LayerUnusable)
    assert (error.layer, error.field) == ("conv1", "objective.layer.layer")
    assert "gradient" in str(error)


def test_a_model_that_does_not_read_pictures_is_not_supported() -> None:
    builder = GraphBuilder()
    output = builder.call(torch.relu, builder.input("tokens"))
    builder.layer("relu", "relu", output)
    specification = TensorSpecification("tokens", "int64", (-1, 128))
    graph = builder.build([output], input_specifications=[specification], output_specifications=[])
    assert isinstance(refusal(loaded(graph), ask(values.LayerObjective("relu"))), Unsupported)

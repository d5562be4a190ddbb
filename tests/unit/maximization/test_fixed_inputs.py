"""Models with inputs beside the picture, and models that take one batch alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from phosphene_server.errors import InvalidArgument, LayerUnusable, NotFound, PhospheneError
from phosphene_server.maximization.ascent import Ascent
from phosphene_server.maximization.preparation import prepare
from phosphene_server.maximization.stepping import step
from phosphene_server.models.batching import Batching, PictureAxis
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import (
    ChannelObjective,
    LayerObjective,
    MaximizeActivationRequest,
    PadTransform,
    PixelParameterization,
    Transforms,
)
from phosphene_server.values.model import NamedTensor, TensorSpecification
from tests.unit.maximization.conftest import REFERENCE, loaded, tiny_graph

MASK = np.zeros((1, 16, 16), np.float32)
MASK[:, :, 8:] = 1
PLAIN = Transforms(())


def two_inputs(*, size: int | None = None) -> ModelGraph:
    """A convolution of picture * mask * gain: `mask` goes with each picture, `gain` is one number for all."""
    builder = GraphBuilder()
    picture, mask, gain = (builder.input(name) for name in ("picture", "mask", "gain"))
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    masked = builder.call(torch.mul, builder.call(torch.mul, picture, mask), gain)
    conv = builder.call(F.conv2d, masked, builder.tensor("weight", weight), None, 1, 1)
    builder.layer("conv", "convolution", conv)
    inputs = [
        TensorSpecification("picture", "float32", (-1, 3, -1, -1)),
        TensorSpecification("mask", "float32", (-1, 1, -1, -1)),
        TensorSpecification("gain", "float32", (1,)),
    ]
    graph = builder.build([conv], input_specifications=inputs, output_specifications=[])
    graph.set_batching(Batching(shared=frozenset({2}), size=size))
    return graph


def make_model(*, size: int | None = None, **defaults: Any) -> LoadedModel:
    model = loaded(two_inputs(size=size), logits_layer="", labels=())
    described = replace(model.model, picture_input="picture")
    return replace(model, model=described, defaults={name: np.asarray(value) for name, value in defaults.items()})


def request_for(channel: int = 1, *, seed: int = 7, pictures: int = 1, **fixed: Any) -> MaximizeActivationRequest:
    tensors = tuple(NamedTensor(name, np.asarray(value)) for name, value in fixed.items())
    return MaximizeActivationRequest(
        REFERENCE,
        ChannelObjective("conv", channel),
        size=ImageSize(16, 16),
        seed=seed,
        pictures=pictures,
        transforms=PLAIN,
        fixed_inputs=tensors,
    )


def refusal(model: LoadedModel, request: MaximizeActivationRequest) -> PhospheneError:
    with pytest.raises(PhospheneError) as caught:
        prepare(model, request)
    return caught.value


def history(model: LoadedModel, *requests: MaximizeActivationRequest, steps: int = 4) -> list[np.ndarray]:
    """Step the requests together and return the objectives of each."""
    ascents = [Ascent(model, prepare(model, request)) for request in requests]
    assert len({ascent.group_key for ascent in ascents}) == 1
    for _ in range(steps):
        step(ascents)
    return [ascent.history() for ascent in ascents]


def test_what_is_masked_does_not_move():
    model = make_model(gain=1.0)
    ascent = Ascent(
        model,
        prepare(
            model, replace(request_for(mask=MASK), parameterization=PixelParameterization(decorrelate_colors=False))
        ),
    )
    before = ascent.images()
    step([ascent])
    moved = (ascent.images() - before).abs().amax(dim=(0, 1))
    assert moved[:, :8].max() == 0
    assert moved[:, 8:].min() > 0


def test_a_prepared_request_has_the_defaults_and_gives_the_same_again():
    model = make_model(gain=2.0, mask=1.0)
    prepared = prepare(model, request_for())
    assert [item.name for item in prepared.fixed_inputs] == ["mask", "gain"]
    assert prepare(model, prepared) == prepared
    assert np.array_equal(*history(model, prepared, request_for(mask=1.0, gain=2.0)))


def test_lanes_with_different_values_share_a_batch():
    model = make_model(gain=1.0)
    requests = [request_for(0, mask=MASK), request_for(1, mask=1.0), request_for(2, seed=8, mask=1 - MASK)]
    together = history(model, *requests)
    alone = [history(model, request)[0] for request in requests]
    for ours, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9)
    assert not np.allclose(together[0], history(model, request_for(0, mask=1.0))[0])


def test_each_picture_of_a_job_may_have_its_own_value():
    model = make_model(gain=1.0)
    masks = np.stack([MASK, 1 - MASK])
    (both,) = history(model, request_for(pictures=2, mask=masks))
    (first,) = history(model, request_for(pictures=2, mask=MASK))
    np.testing.assert_allclose(both[:, 0], first[:, 0], rtol=1e-9)
    assert not np.allclose(both[:, 1], first[:, 1])


def test_values_without_a_batch_axis_keep_jobs_apart_unless_they_are_equal():
    model = make_model(mask=1.0)
    one, other, same = (Ascent(model, prepare(model, request_for(gain=gain))) for gain in (1.0, 2.0, 1.0))
    assert one.group_key == same.group_key
    assert one.group_key != other.group_key


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_fixed_batch_changes_nothing(size):
    expected = history(make_model(gain=1.0), request_for(0, mask=MASK), request_for(1, pictures=2, mask=1.0), steps=20)
    split = history(
        make_model(size=size, gain=1.0), request_for(0, mask=MASK), request_for(1, pictures=2, mask=1.0), steps=20
    )
    for ours, theirs in zip(split, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_silent_pictures_are_lifted_in_a_fixed_batch_too():
    request = MaximizeActivationRequest(
        REFERENCE, ChannelObjective("conv2", 1), size=ImageSize(16, 16), seed=7, pictures=3
    )
    histories = []
    for size in (None, 2):
        graph = tiny_graph(dtype=torch.float64, bias=-3.0)
        graph.set_batching(Batching(size=size))
        histories.append(history(loaded(graph), request, steps=8)[0])
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-9)


def test_a_checkpoint_goes_on_with_the_same_inputs():
    model = make_model(gain=1.0)
    request = prepare(model, request_for(pictures=2, mask=np.stack([MASK, 1 - MASK])))
    whole = Ascent(model, request)
    for _ in range(6):
        step([whole])
    half = Ascent(model, request)
    for _ in range(3):
        step([half])
    resumed = Ascent.restore(model, request, half.state())
    for _ in range(3):
        step([resumed])
    assert np.array_equal(whole.history(), resumed.history())


def test_an_input_without_a_value_names_its_type_and_shape():
    error = refusal(make_model(gain=1.0), request_for())
    assert isinstance(error, InvalidArgument)
    assert error.field == "fixed_inputs"
    assert "'mask'" in error.value
    assert "float32 of shape (any, 1, any, any), or one number" in error.expected


@pytest.mark.parametrize(
    ("fixed", "kind", "field", "message"),
    [
        ({"maks": 1.0}, NotFound, "fixed_inputs[0].name", "did you mean 'mask'"),
        ({"mask": 1.0, "picture": 1.0}, InvalidArgument, "fixed_inputs[1].name", "the picture itself"),
        ({"mask": np.zeros((2, 16, 16))}, InvalidArgument, "fixed_inputs[0].value", "of shape"),
        ({"mask": np.zeros((3, 1, 16, 16))}, InvalidArgument, "fixed_inputs[0].value", "1 or 2 entries"),
        ({"mask": 1.0, "gain": [1.0, 2.0]}, InvalidArgument, "fixed_inputs[1].value", r"of shape \(1\)"),
        ({"mask": np.zeros((1, 8, 8))}, InvalidArgument, "size", "that fits its other inputs"),
    ],
)
def test_a_wrong_value_names_its_field(fixed, kind, field, message):
    error = refusal(make_model(gain=1.0), request_for(pictures=2, **fixed))
    assert isinstance(error, kind)
    assert error.field == field  # type: ignore[attr-defined]  # both kinds have one
    with pytest.raises(kind, match=message):
        raise error


def test_an_input_is_fixed_once():
    request = replace(request_for(), fixed_inputs=(NamedTensor("mask", np.asarray(1.0)),) * 2)
    assert "each input once" in str(refusal(make_model(gain=1.0), request))


def test_a_value_must_fit_the_picture_with_and_without_its_margin():
    margin = Transforms((PadTransform(pixels=4),))
    request = replace(request_for(mask=np.ones((1, 24, 24))), transforms=margin)
    assert isinstance(refusal(make_model(gain=1.0), request), InvalidArgument)
    prepare(make_model(gain=1.0), replace(request_for(mask=1.0), transforms=margin))


def test_a_layer_that_has_nothing_of_each_picture_is_refused():
    model = make_model(gain=1.0)
    model.graph.set_batching(replace(model.graph.batching, axes={model.graph.layer("conv").node: None}))
    error = refusal(model, replace(request_for(mask=1.0), objective=LayerObjective("conv")))
    assert isinstance(error, LayerUnusable)
    assert "no activation of each picture" in error.detail


def test_a_layer_with_pictures_elsewhere_is_maximised():
    builder = GraphBuilder()
    rows = builder.call(torch.flatten, builder.input("picture"), 1)
    columns = builder.call(torch.transpose, rows, 0, 1)
    builder.layer("columns", "transpose", columns)
    entry = TensorSpecification("picture", "float32", (-1, 3, -1, -1))
    graph = builder.build([rows], input_specifications=[entry], output_specifications=[])
    graph.set_batching(Batching(axes={columns.name: PictureAxis(1)}))
    request = replace(request_for(pictures=2), objective=LayerObjective("columns"))
    (found,) = history(loaded(graph, logits_layer="", labels=()), request)
    assert (np.diff(found, axis=0) > 0).all()


def test_too_many_bytes_are_refused_at_once():
    with pytest.raises(ValueError, match="fixed_inputs"):
        request_for(mask=np.zeros(2**22 + 1, np.float32))

"""The choices of a maximization on their way to the wire and back."""

from dataclasses import fields, replace

import numpy as np
import pytest

from phosphene import errors, objectives, optimizers, parameterizations, penalties, stop_rules, transforms
from phosphene._wire import choices
from phosphene._wire.layers import decode_layer_settings, encode_layer_settings
from phosphene._wire.maximizations import decode_settings, encode_settings
from phosphene._wire.tensors import as_arrays
from phosphene.layers import LayerSettings
from phosphene.maximizations import MaximizationSettings
from phosphene.models import ModelReference
from phosphene.v1 import maximization_pb2 as pb

MINIMAL = MaximizationSettings(ModelReference("tiny"), objectives.class_logit("star"))
EVERYTHING = MaximizationSettings(
    model=ModelReference("tiny", version="2", format="torch_export"),
    objective=objectives.class_logit("star") - 0.25 * objectives.layer("conv1"),
    steps=12,
    size=(64, 96),
    pictures=3,
    seed=2**63,
    parameterization=parameterizations.pixels(standard_deviation=0.5, decorrelate_colors=False),
    transforms=(
        transforms.jitter(pixels=3),
        transforms.jitter(fraction=0.25),
        transforms.scale(minimum=0.5, maximum=2),
        transforms.rotate(degrees=10),
        transforms.noise(standard_deviation=0.0625),
        transforms.pad(pixels=4, border="gray"),
        transforms.resize(height=32, width=48),
    ),
    penalties=(penalties.total_variation(weight=0.5), penalties.l1(weight=0.25), penalties.l2(weight=2)),
    optimizer=optimizers.adam(learning_rate=0.125, beta1=0.5, beta2=0.75),
    stop_rules=(stop_rules.target(12.5), stop_rules.plateau(window=8, tolerance=0.5)),
    frame_interval=0.25,
    frame_format="jpeg",
    frame_quality=80,
    tensors=True,
    linger=30.0,
    priority=3,
    precision="bfloat16",
)


LAYER = LayerSettings(ModelReference("tiny"), "conv1")
WHOLE_LAYER = LayerSettings(
    layer="conv1",
    channels=(4, 0, 2),
    target="neuron",
    picture_format="webp",
    picture_quality=70,
    sheet_columns=5,
    sheet_tile=48,
    sheet_format="jpeg",
    sheet_quality=60,
    **{
        name: value
        for name, value in vars(EVERYTHING).items()
        if name not in ("objective", "pictures", "tensors")
    },
)  # fmt: skip


@pytest.mark.parametrize("settings", [MINIMAL, EVERYTHING])
def test_settings_survive_the_wire(settings):
    assert decode_settings(encode_settings(settings)) == settings


@pytest.mark.parametrize("settings", [LAYER, WHOLE_LAYER])
def test_the_settings_of_a_layer_survive_the_wire(settings):
    assert decode_layer_settings(encode_layer_settings(settings)) == settings


def test_every_setting_of_a_layer_is_tried():
    untried = {name for name, value in vars(WHOLE_LAYER).items() if value == getattr(LAYER, name)}
    assert untried == {"layer", "frame_every", "fixed_inputs"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"channels": (0, -1)}, "channels"),
        ({"target": "row"}, "target"),
        ({"picture_format": "gif"}, "encoding.format"),
        ({"sheet_columns": -1}, "sheet.columns"),
        ({"sheet_format": "gif"}, "sheet.encoding.format"),
        ({"size": 96}, "size"),
    ],
)
def test_a_value_that_no_field_of_a_layer_can_hold_is_named(changes, field):
    with pytest.raises(errors.InvalidArgument, match="expected") as caught:
        encode_layer_settings(replace(LAYER, **changes))
    assert caught.value.field == field


def test_what_is_not_chosen_is_left_unset():
    request = encode_settings(MINIMAL)
    assert {field.name for field, _ in request.ListFields()} == {"model", "objective", "result"}


def test_no_transforms_differ_from_the_default_ones():
    request = encode_settings(MaximizationSettings(ModelReference("tiny"), objectives.layer("a"), transforms=()))
    assert request.HasField("transforms")
    assert not encode_settings(MINIMAL).HasField("transforms")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (choices.PARAMETERIZATIONS, pb.Parameterization),
        (choices.TRANSFORMS, pb.Transform),
        (choices.PENALTIES, pb.Penalty),
        (choices.OPTIMIZERS, pb.Optimizer),
        (choices.STOP_RULES, pb.StopRule),
    ],
)
def test_every_kind_of_the_contract_can_be_chosen(table, message):
    kinds = message.DESCRIPTOR.oneofs_by_name["kind"].fields
    assert set(table) == {field.name for field in kinds}
    for field in kinds:
        value, inner = table[field.name]
        assert inner.DESCRIPTOR is field.message_type
        assert set(inner.DESCRIPTOR.fields_by_name) <= {item.name for item in fields(value)}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"steps": -1}, "steps"),
        ({"steps": "many"}, "steps"),
        ({"size": 96}, "size"),
        ({"size": (96, -1)}, "size.width"),
        ({"seed": 2**64}, "seed"),
        ({"transforms": ["jitter"]}, "transforms.items[0]"),
        ({"transforms": [transforms.rotate(degrees="ten")]}, "transforms.items[0].rotate.degrees"),
        ({"transforms": [transforms.pad(pixels=1, border="black")]}, "transforms.items[0].pad.border"),
        ({"penalties": [0.5]}, "penalties[0]"),
        ({"stop_rules": [stop_rules.plateau(window=-1)]}, "stop_rules[0].plateau.window"),
        ({"frame_every": 4, "frame_interval": 1.0}, "frames"),
        ({"frame_format": "gif"}, "frames.encoding.format"),
        ({"linger": "long"}, "linger"),
        ({"transforms": [transforms.resize(height=-1, width=8)]}, "transforms.items[0].resize.size.height"),
        ({"priority": -1}, "priority"),
        ({"precision": "float8"}, "precision"),
    ],
)
def test_a_value_that_no_field_can_hold_is_named(changes, field):
    with pytest.raises(errors.InvalidArgument, match="expected") as caught:
        encode_settings(MaximizationSettings(ModelReference("tiny"), objectives.layer("a"), **changes))
    assert caught.value.field == field


def test_the_accepted_settings_run_again(client):
    first = client.maximize("tiny", objectives.channel("conv1", 3), steps=64, size=(4, 6), seed=5, frame_every=8)
    second = client.maximize(**vars(first.settings))
    assert second.settings == first.settings


def test_learning_rate_is_short_for_adam(client, service):
    client.maximize("tiny", objectives.layer("conv1"), learning_rate=0.5)
    assert service.maximizations.requests[0].optimizer.adam.learning_rate == 0.5
    with pytest.raises(errors.InvalidArgument, match="not both"):
        client.maximize("tiny", objectives.layer("conv1"), learning_rate=0.5, optimizer=optimizers.adam())


def test_jitter_takes_exactly_one_limit():
    for limits in ({}, {"pixels": 1, "fraction": 0.5}):
        with pytest.raises(TypeError, match="exactly one"):
            transforms.jitter(**limits)


def test_fixed_inputs_survive_the_wire():
    mask = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    settings = replace(MINIMAL, fixed_inputs={"mask": mask, "scale": np.asarray(2)})
    decoded = decode_settings(encode_settings(settings)).fixed_inputs
    assert list(decoded) == ["mask", "scale"]
    assert np.array_equal(decoded["mask"], mask)
    assert decoded["mask"].dtype == np.float32
    assert decoded["scale"] == 2


def test_a_fixed_input_that_is_no_array_names_its_field():
    with pytest.raises(errors.InvalidArgument) as caught:
        as_arrays({"mask": 1.0, "steps": [[1, 2], [3]]})
    assert caught.value.field == "fixed_inputs[1].value"
    with pytest.raises(errors.InvalidArgument) as caught:
        encode_settings(replace(MINIMAL, fixed_inputs={"mask": np.asarray("text")}))
    assert caught.value.field == "fixed_inputs[0].value"

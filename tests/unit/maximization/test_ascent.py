"""Ascents: lanes alone and in company, their repeatability, and what they reach."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from phosphene_server.maximization.ascent import SILENT_STEPS, Ascent
from phosphene_server.maximization.plan import BLOCK_STEPS
from phosphene_server.maximization.readback import READ_BEHIND
from phosphene_server.maximization.stepping import step
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.models.preprocessing import preprocess
from phosphene_server.values import maximization as values
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import MaximizeActivationRequest
from phosphene_server.values.model import TensorSpecification
from tests.unit.maximization.conftest import PREPROCESSING, loaded, tiny_graph

MakeRequest = Callable[..., MaximizeActivationRequest]


def climbed(ascents: Sequence[Ascent], steps: int) -> None:
    for _ in range(steps):
        step(ascents)


def test_the_objective_rises(model: LoadedModel, make_request: MakeRequest) -> None:
    ascent = Ascent(model, make_request())
    before = ascent.plain_objective()
    climbed([ascent], 40)
    assert (ascent.plain_objective() > before + 0.5).all()


def test_the_same_request_gives_the_same_bytes(model: LoadedModel, make_request: MakeRequest) -> None:
    first, second = (Ascent(model, make_request(pictures=2)) for _ in range(2))
    climbed([first], 20)
    climbed([second], 20)
    assert torch.equal(first.images(), second.images())
    assert np.array_equal(first.history(), second.history())


def test_another_seed_and_each_picture_give_another_picture(model: LoadedModel, make_request: MakeRequest) -> None:
    ascents = [Ascent(model, make_request(pictures=2)), Ascent(model, make_request(seed=8))]
    pictures = torch.cat([ascent.images() for ascent in ascents])
    assert all(not torch.equal(pictures[i], pictures[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_picture_i_does_not_depend_on_how_many_pictures_there_are(
    model: LoadedModel, make_request: MakeRequest
) -> None:
    few, many = Ascent(model, make_request(pictures=1)), Ascent(model, make_request(pictures=3))
    climbed([few], 10)
    climbed([many], 10)
    torch.testing.assert_close(few.images()[0], many.images()[0], rtol=1e-3, atol=1e-5)


def company() -> list[dict[str, object]]:
    """Settings that may differ between the lanes of one batch."""
    weighted = values.WeightedPenalty(values.TotalVariationPenalty(), 2.0)
    return [
        {"objective": values.LayerObjective("conv1"), "optimizer": values.AdamOptimizer(0.2)},
        {"objective": values.ClassLogitObjective(index=3), "seed": 11, "transforms": values.Transforms()},
        {"objective": values.NeuronObjective("relu2", 2, 3, 3), "penalties": (weighted,), "pictures": 3},
        {"transforms": values.Transforms((values.NoiseTransform(0.1),)), "steps": 5},
    ]


def test_a_lane_comes_out_the_same_alone_and_in_company(model: LoadedModel, make_request: MakeRequest) -> None:
    alone, together = Ascent(model, make_request()), Ascent(model, make_request())
    others = [Ascent(model, make_request(**settings)) for settings in company()]
    assert {ascent.group_key for ascent in others} == {together.group_key}
    climbed([alone], 30)
    climbed(others[:2], 7)  # they are ahead: each counts its own steps
    climbed([others[0], together, *others[1:]], 30)
    torch.testing.assert_close(together.images(), alone.images(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(together.history(), alone.history(), rtol=1e-3, atol=1e-5)


def test_equal_places_in_batches_of_equal_shape_give_equal_bytes(model: LoadedModel, make_request: MakeRequest) -> None:
    scale = values.Transforms((values.ScaleTransform(0.5, 0.7), *values.DEFAULT_TRANSFORMS.items[1:]))
    neighbours = [
        {"objective": values.ChannelObjective("conv2", 4), "seed": 11, "optimizer": values.AdamOptimizer(0.3)},
        {"objective": values.ChannelObjective("conv2", 0), "seed": 12, "transforms": scale},
    ]
    outcomes = []
    for neighbour in neighbours:
        ascent = Ascent(model, make_request())
        climbed([ascent, Ascent(model, make_request(**neighbour))], 20)
        outcomes.append(ascent.images())
    assert torch.equal(outcomes[0], outcomes[1])


def test_what_the_network_cannot_see_in_one_batch_is_told_by_the_group_key(
    model: LoadedModel, make_request: MakeRequest
) -> None:
    padded = values.Transforms((values.PadTransform(4),))
    requests = [
        make_request(),
        make_request(size=ImageSize(16, 24)),
        make_request(transforms=padded),
        make_request(precision="bfloat16"),
    ]
    keys = [Ascent(model, request).group_key for request in requests]
    assert len(set(keys)) == len(keys)
    assert Ascent(loaded(tiny_graph()), make_request()).group_key not in keys


def test_all_that_the_network_can_see_in_one_batch_has_one_group_key(
    model: LoadedModel, make_request: MakeRequest
) -> None:
    gray = values.Transforms((values.PadTransform(0, "gray"),))
    enlarged = values.Transforms((values.ResizeTransform(ImageSize(16, 16)),))
    requests = [
        make_request(),
        make_request(parameterization=values.PixelParameterization()),
        make_request(parameterization=values.FourierParameterization(decay=2.0)),
        make_request(transforms=gray),
        make_request(transforms=enlarged, size=ImageSize(8, 12)),
    ]
    assert len({Ascent(model, request).group_key for request in requests}) == 1


@pytest.mark.parametrize("done", [3, BLOCK_STEPS, BLOCK_STEPS + 1])
def test_a_restored_ascent_goes_on_bit_for_bit(model: LoadedModel, make_request: MakeRequest, done: int) -> None:
    request = make_request(pictures=2)
    original = Ascent(model, request)
    climbed([original], done)
    restored = Ascent.restore(model, request, original.state())
    assert restored.step == done
    climbed([original], 5)
    climbed([restored], 5)
    assert torch.equal(original.images(), restored.images())
    assert np.array_equal(original.history(), restored.history())


def test_history_is_what_the_transformed_pictures_reached(model: LoadedModel, make_request: MakeRequest) -> None:
    ascent = Ascent(model, make_request(pictures=3, transforms=values.Transforms()))
    reached = ascent.plain_objective()
    climbed([ascent], 4)
    assert ascent.history().shape == (4, 3)
    np.testing.assert_allclose(ascent.history()[0], reached.numpy(), rtol=1e-5)
    np.testing.assert_allclose(ascent.history()[3], ascent.objective.numpy(), rtol=1e-6)


def test_a_margin_enlarges_what_the_network_sees(model: LoadedModel, make_request: MakeRequest) -> None:
    beyond = values.NeuronObjective("conv1", 0, 21, 21)  # outside of 16 by 16
    ascent = Ascent(model, make_request(beyond, transforms=values.Transforms((values.PadTransform(4),))))
    climbed([ascent], 2)
    assert ascent.images().shape == (1, 3, 16, 16)


def test_a_penalty_calms_the_picture(model: LoadedModel, make_request: MakeRequest) -> None:
    penalty = values.WeightedPenalty(values.TotalVariationPenalty(), 100.0)
    wild, calm = Ascent(model, make_request()), Ascent(model, make_request(penalties=(penalty,)))
    climbed([wild, calm], 40)
    assert calm.images().diff(dim=3).abs().mean() < 0.3 * wild.images().diff(dim=3).abs().mean()


def test_the_best_picture_for_a_linear_unit_is_its_filter(make_request: MakeRequest) -> None:
    """Erhan et al. 2009: a unit of the first layer is most excited by its own weights."""
    builder = GraphBuilder()
    weight = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    output = builder.call(F.conv2d, builder.input("picture"), builder.tensor("weight", weight))
    builder.layer("unit", "convolution", output)
    specification = TensorSpecification("picture", "float32", (-1, 3, -1, -1))
    graph = builder.build([output], input_specifications=[specification], output_specifications=[])
    request = make_request(
        values.ChannelObjective("unit"),
        size=ImageSize(8, 8),
        parameterization=values.PixelParameterization(0.0, decorrelate_colors=False),
        transforms=values.Transforms(),
        penalties=(values.WeightedPenalty(values.L2Penalty(), 4000.0),),
        optimizer=values.AdamOptimizer(0.02),
    )
    ascent = Ascent(loaded(graph, preprocessing=PREPROCESSING, logits_layer=""), request)
    climbed([ascent], 400)
    # Of w.(x - mean) / std - weight * mean((x - 1/2)^2) the maximum is x = 1/2 + w * pixels / (2 * weight * std).
    expected = 0.5 + weight * 192 / (2 * 4000 * 0.25)
    torch.testing.assert_close(ascent.images(), expected, rtol=0, atol=0.02)


def test_a_silent_rectifier_does_not_keep_an_ascent_from_starting(make_request: MakeRequest) -> None:
    silent = loaded(tiny_graph(bias=-1.0))
    ascent = Ascent(silent, make_request(values.ChannelObjective("relu2", 2)))
    assert ascent.plain_objective().item() == 0.0
    climbed([ascent], 60)
    assert ascent.plain_objective().item() > 0.0
    assert ascent.take_warnings() == []


def test_an_objective_without_any_gradient_is_told_once(make_request: MakeRequest) -> None:
    dead = loaded(tiny_graph(bias=-1000.0))
    ascent = Ascent(dead, make_request(values.ChannelObjective("relu2", 2), optimizer=values.AdamOptimizer(1e-6)))
    climbed([ascent], SILENT_STEPS)
    assert ascent.take_warnings() == []  # the redirected steps had a gradient
    climbed([ascent], SILENT_STEPS)
    assert [(warning.reason, warning.step) for warning in ascent.take_warnings()] == [("NO_GRADIENT", 64)]
    climbed([ascent], SILENT_STEPS)
    assert ascent.take_warnings() == []


def test_an_objective_that_is_not_finite_is_told_and_leaves_the_picture(make_request: MakeRequest) -> None:
    graph = tiny_graph()
    graph.module.conv2.weight[0, 0, 0, 0] = float("nan")
    ascent = Ascent(loaded(graph), make_request(values.ChannelObjective("conv2", 0), steps=2))
    before = ascent.images()
    climbed([ascent], 2)
    assert [warning.reason for warning in ascent.take_warnings()] == ["NOT_FINITE"]
    assert torch.equal(ascent.images(), before)


def test_an_ascent_ends_at_its_last_step_or_where_a_rule_says(model: LoadedModel, make_request: MakeRequest) -> None:
    plain = Ascent(model, make_request(steps=3))
    eager = Ascent(model, make_request(steps=3, stop_rules=(values.TargetStopRule(-1e6),)))
    assert (plain.stop_reason(), eager.stop_reason()) == (None, None)
    climbed([plain, eager], 1)
    assert (plain.stop_reason(), eager.stop_reason()) == (None, "target")
    climbed([plain], 2)
    assert plain.stop_reason() == "steps"


def test_where_the_host_is_behind_a_rule_is_seen_later_also_after_a_restart_and_the_last_step_in_time(
    monkeypatch: pytest.MonkeyPatch, model: LoadedModel, make_request: MakeRequest
) -> None:
    monkeypatch.setitem(READ_BEHIND, "cpu", 2)
    request = make_request(steps=4, stop_rules=(values.TargetStopRule(-1e6),))
    for restarted_after in range(4):
        ascent, reasons = Ascent(model, request), []
        for number in range(4):
            if number == restarted_after:
                ascent = Ascent.restore(model, request, ascent.state())
            climbed([ascent], 1)
            reasons.append(ascent.stop_reason())
        assert reasons == [None, None, "target", "target"]
    never = make_request(steps=3, stop_rules=(values.TargetStopRule(1e6),))
    ascent = Ascent(model, never)
    climbed([ascent], 3)
    assert ascent.stop_reason() == "steps"


def test_the_gradient_of_a_step_is_that_of_the_whole_composition(make_request: MakeRequest) -> None:
    """One step of plain settings in float64 against the same composition written out."""
    model = loaded(tiny_graph(dtype=torch.float64))
    penalty = values.WeightedPenalty(values.L2Penalty(), 3.0)
    settings = {"transforms": values.Transforms(), "penalties": (penalty,), "optimizer": values.AdamOptimizer(1e-3)}
    ascent = Ascent(model, make_request(values.ChannelObjective("conv2", 4), **settings))
    parameters = ascent.lanes.parameters.clone().requires_grad_()
    pictures = ascent.recipe.parameterization.decode(parameters)
    reached = model.graph.cut(["conv2"])(preprocess(pictures, PREPROCESSING))["conv2"][:, 4].mean()
    (gradient,) = torch.autograd.grad(reached - 3.0 * (pictures - 0.5).square().mean(), parameters)
    before = ascent.lanes.parameters.clone()
    climbed([ascent], 1)
    expected = before + 1e-3 * gradient / (gradient.abs() + 1e-8)  # what the first step of Adam is
    torch.testing.assert_close(ascent.lanes.parameters, expected, rtol=1e-7, atol=1e-12)


def test_a_model_of_half_precision_is_climbed_with_pictures_of_single(make_request: MakeRequest) -> None:
    ascent = Ascent(loaded(tiny_graph(dtype=torch.bfloat16)), make_request())
    before = ascent.plain_objective()
    climbed([ascent], 20)
    assert ascent.images().dtype == torch.float32
    assert ascent.plain_objective() > before

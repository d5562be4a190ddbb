"""Batches: ten jobs of every kind in random company, and what a new kind of part needs to take part in it."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from phosphene_server.maximization import objectives, optimizers, penalties
from phosphene_server.maximization.ascent import Ascent
from phosphene_server.maximization.objectives import Objective
from phosphene_server.maximization.optimizers import Optimizer
from phosphene_server.maximization.penalties import Penalty
from phosphene_server.maximization.stepping import step
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values import maximization as values
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import MaximizeActivationRequest
from tests.unit.maximization.conftest import loaded, tiny_graph

MakeRequest = Callable[..., MaximizeActivationRequest]

OBJECTIVES: tuple[values.Objective, ...] = (
    values.ChannelObjective("conv2", 1),
    values.ChannelObjective("conv2", 3),
    values.ChannelObjective("conv1", 2),
    values.NeuronObjective("relu2", 2, 3, 3),
    values.NeuronObjective("conv1", 1, 8, 8),
    values.LayerObjective("relu1"),
    values.ClassLogitObjective(index=3),
    values.WeightedSumObjective(
        (
            values.WeightedObjective(values.ChannelObjective("conv2", 0), 0.5),
            values.WeightedObjective(values.LayerObjective("conv1"), -0.1),
        )
    ),
)
TRANSFORMS: tuple[tuple[values.Transform, ...], ...] = (
    values.DEFAULT_TRANSFORMS.items,
    (),
    (values.JitterTransform(pixels=3), values.PadTransform(0, "gray"), values.RotateTransform(30)),
    (values.NoiseTransform(0.1), values.ScaleTransform(0.7, 1.4), values.NoiseTransform(0.05)),
)


def random_settings(source: random.Random) -> dict[str, Any]:
    """Settings of a job that the network sees at 16 by 16 pixels."""
    penalty = source.choice([values.TotalVariationPenalty(), values.L1Penalty(), values.L2Penalty()])
    resized = values.ResizeTransform(ImageSize(16, 16))
    enlarged = source.random() < 0.3
    items = source.choice(TRANSFORMS)
    return {
        "objective": source.choice(OBJECTIVES),
        "pictures": source.choice([1, 1, 2, 3]),
        "seed": source.randrange(2**64),
        "size": ImageSize(10, 14) if enlarged else ImageSize(16, 16),
        "transforms": values.Transforms((*items, resized) if enlarged else items),
        "parameterization": source.choice(
            [
                values.FourierParameterization(),
                values.FourierParameterization(decay=1.0, standard_deviation=0.1),
                values.PixelParameterization(decorrelate_colors=False),
            ]
        ),
        "penalties": source.choice([(), (values.WeightedPenalty(penalty, source.uniform(0.1, 2.0)),)]),
        "optimizer": values.AdamOptimizer(source.uniform(0.01, 0.1), beta1=source.choice([0.5, 0.9])),
    }


def in_random_company(
    ascents: Sequence[Ascent], source: random.Random, *, steps: int, move: Callable[[Sequence[Ascent]], None] = step
) -> None:
    """Step all of them so often, each time some of those that are not done, in any order."""
    waiting = list(ascents)
    while waiting:
        together = source.sample(waiting, source.randint(1, len(waiting)))
        for _ in range(source.randint(1, 4)):
            move(together)
            together = [ascent for ascent in together if ascent.step < steps]
            if not together:
                break
        waiting = [ascent for ascent in waiting if ascent.step < steps]


@pytest.mark.parametrize("seed", range(4))
def test_ten_random_jobs_in_random_company_come_out_as_alone(make_request: MakeRequest, seed: int) -> None:
    model, source = loaded(tiny_graph(dtype=torch.float64)), random.Random(seed)
    requests = [make_request(**random_settings(source)) for _ in range(10)]
    alone, together = ([Ascent(model, request) for request in requests] for _ in range(2))
    assert len({ascent.group_key for ascent in together}) == 1
    for ascent in alone:
        for _ in range(70):  # more than one block
            step([ascent])
    in_random_company(together, source, steps=70)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.history(), one.history(), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(other.images(), one.images(), rtol=1e-6, atol=1e-8)


def test_ten_random_jobs_agree_in_single_precision_to_a_thousandth(
    model: LoadedModel, make_request: MakeRequest
) -> None:
    source = random.Random(9)
    requests = [make_request(**random_settings(source)) for _ in range(10)]
    alone, together = ([Ascent(model, request) for request in requests] for _ in range(2))
    for ascent in alone:
        for _ in range(20):
            step([ascent])
    in_random_company(together, source, steps=20)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.history(), one.history(), rtol=1e-3, atol=1e-5)


def test_ascents_that_stay_together_stay_stacked(model: LoadedModel, make_request: MakeRequest) -> None:
    first, second, third = (Ascent(model, make_request(seed=seed)) for seed in range(3))
    step([first, second])
    memory = first.lanes.parameters.data_ptr()
    step([third])
    step([first, second])
    assert first.lanes.parameters.data_ptr() == memory
    step([first, third])
    assert first.lanes.parameters.data_ptr() != memory
    assert second.lanes.parameters.untyped_storage().data_ptr() == memory


def test_a_step_that_fails_leaves_every_lane_where_it_was(model: LoadedModel, make_request: MakeRequest) -> None:
    class Broken:
        """A graph that has no memory left."""

        def __call__(self, *_: Tensor, redirected: Tensor | None = None) -> dict[str, Tensor]:
            raise MemoryError

    ascents = [Ascent(model, make_request(seed=seed)) for seed in range(2)]
    step(ascents)
    before = [ascent.state() for ascent in ascents]
    batch = ascents[0].batch
    assert batch is not None
    batch._graph, graph = Broken(), batch._graph  # type: ignore[assignment]  # as far as it is used
    with pytest.raises(MemoryError):
        step(ascents)
    assert [ascent.state() for ascent in ascents] == before
    batch._graph = graph
    step(ascents)
    assert [ascent.step for ascent in ascents] == [2, 2]


# What others will add is added here, each as one factory and one line of a table, and mixed with what there is


@dataclasses.dataclass(frozen=True)
class Diversity:
    """A coupled objective: a channel, and how unlike one another the pictures of the job are there (Olah 2017)."""

    layer: str
    channel: int
    kind: str = "diversity"


def diversity(*, layer: str, channel: int) -> Objective:
    def evaluate(activations: dict[str, Tensor], numbers: Tensor) -> Tensor:
        activation = activations[layer]
        vectors = torch.nn.functional.normalize(activation.flatten(1), dim=1)
        likeness = (vectors @ vectors.T).sum() - len(vectors)
        return activation[:, int(numbers[0, 0])].flatten(1).mean(dim=1) - likeness / len(vectors)

    return Objective(None, frozenset({layer}), (channel,), evaluate)


def alignment() -> Penalty:
    """A coupled penalty: the mean squared difference between neighbouring pictures of a job."""

    def evaluate(pictures: Tensor) -> Tensor:
        return (pictures - pictures.roll(1, 0)).square().mean(dim=(1, 2, 3))

    return Penalty(None, evaluate)


def sphere(*, learning_rate: float) -> Optimizer:
    """An optimizer that keeps the length of the parameters: a normalized step, and back to the sphere."""

    def move(parameters: Tensor, gradient: Tensor, memory: Any, numbers: Tensor) -> tuple[Tensor, Any]:
        def length(tensor: Tensor) -> Tensor:
            return tensor.flatten(1).norm(dim=1).reshape(-1, *[1] * (tensor.dim() - 1))

        moved = parameters + numbers.reshape(length(parameters).shape) * gradient / length(gradient)
        return moved * memory["length"].reshape(length(parameters).shape) / length(moved), memory

    return Optimizer(
        "sphere",
        lambda parameters: {"length": parameters.flatten(1).norm(dim=1)},
        lambda _, count: np.full((count, 1), learning_rate),
        move,
    )


@pytest.fixture
def extended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        objectives.OBJECTIVES, "diversity", lambda value, _: diversity(layer=value.layer, channel=value.channel)
    )
    monkeypatch.setitem(penalties.PENALTIES, "alignment", lambda _: alignment())
    monkeypatch.setitem(optimizers.OPTIMIZERS, "sphere", lambda value: sphere(learning_rate=value.learning_rate))


@pytest.mark.usefixtures("extended")
def test_new_kinds_of_objective_penalty_and_optimizer_take_part_in_a_batch(make_request: MakeRequest) -> None:
    @dataclasses.dataclass(frozen=True)
    class Alignment:
        kind: str = "alignment"

    @dataclasses.dataclass(frozen=True)
    class Sphere:
        learning_rate: float
        kind: str = "sphere"

    aligned = (values.WeightedPenalty(Alignment(), 5.0), values.WeightedPenalty(values.L2Penalty(), 0.5))
    settings: list[dict[str, Any]] = [
        {"objective": Diversity("conv2", 1), "pictures": 3},
        {"objective": Diversity("conv2", 2), "pictures": 2, "penalties": aligned},
        {"optimizer": Sphere(0.01), "parameterization": values.PixelParameterization(0.5)},
        {"optimizer": Sphere(0.02), "parameterization": values.PixelParameterization(0.5), "pictures": 2},
        {"penalties": aligned, "pictures": 2, "seed": 5},
        {},
    ]
    model = loaded(tiny_graph(dtype=torch.float64))
    alone, together = ([Ascent(model, make_request(**some)) for some in settings] for _ in range(2))
    for _ in range(10):
        for ascent in alone:
            step([ascent])
        step(together)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.history(), one.history(), rtol=1e-7, atol=1e-10)
    lengths = together[3].lanes.parameters.flatten(1).norm(dim=1)
    torch.testing.assert_close(lengths, together[3].lanes.memory["length"])

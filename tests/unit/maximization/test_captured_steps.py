"""Batches that stay: places, spare lanes, who moves in and out, and when a step is captured."""

import random
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from phosphene_server.maximization import layout
from phosphene_server.maximization.ascent import Ascent
from phosphene_server.maximization.stepping import WARM_STEPS, CapturedSteps, step
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values import maximization as values
from phosphene_server.values.maximization import MaximizeActivationRequest
from tests.unit.maximization.conftest import loaded, tiny_graph
from tests.unit.maximization.test_batch import in_random_company, random_settings

MakeRequest = Callable[..., MaximizeActivationRequest]
Move = Callable[[], None]


class Recorder:
    """Captures by keeping what to do; it is done anew at each replay, as a CUDA graph does it on the same memory."""

    def __init__(self) -> None:
        self.captured = 0
        self.replayed = 0

    def __call__(self, move: Move) -> Move:
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            move()

        return replay


def test_buckets_waste_at_most_a_third() -> None:
    assert all(larger <= 1.5 * smaller or larger - smaller == 1 for smaller, larger in pairwise(layout.BUCKETS))
    assert [layout.bucket(lanes) for lanes in (1, 5, 33, 64, 65)] == [1, 6, 48, 64, 65]


@pytest.mark.parametrize("seed", range(3))
def test_random_jobs_come_out_of_kept_batches_as_alone(make_request: MakeRequest, seed: int) -> None:
    model, source = loaded(tiny_graph(dtype=torch.float64)), random.Random(seed)
    requests = [make_request(**random_settings(source)) for _ in range(8)]
    alone, together = ([Ascent(model, request) for request in requests] for _ in range(2))
    for ascent in alone:
        for _ in range(66):
            step([ascent])
    in_random_company(together, source, steps=66, move=CapturedSteps(Recorder()))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.history(), one.history(), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(other.images(), one.images(), rtol=1e-6, atol=1e-8)


def test_a_batch_is_captured_once_it_is_warm_and_again_without_redirection(
    model: LoadedModel, make_request: MakeRequest
) -> None:
    recorder = Recorder()
    move, ascent = CapturedSteps(recorder), Ascent(model, make_request())
    counts = []
    for _ in range(20):
        move([ascent])
        counts.append((recorder.captured, recorder.replayed))
    assert counts[WARM_STEPS - 1] == (0, 0)
    assert counts[WARM_STEPS] == (1, 1)
    assert counts[15] == (1, 16 - WARM_STEPS)
    assert counts[16] == (2, 17 - WARM_STEPS)


def test_what_was_captured_serves_all_numbers_of_lanes_of_a_bucket(
    model: LoadedModel, make_request: MakeRequest
) -> None:
    recorder = Recorder()
    move = CapturedSteps(recorder)
    ascents = [Ascent(model, make_request(seed=seed)) for seed in range(8)]
    for count in (5, 6, 5, 6, 5, 6):
        for _ in range(2):
            move(ascents[-count:])
    assert recorder.captured == 1
    assert recorder.replayed == 12 - WARM_STEPS


def test_who_loses_its_place_keeps_its_state(model: LoadedModel, make_request: MakeRequest) -> None:
    move = CapturedSteps(Recorder())
    alone, first, second = (Ascent(model, make_request(seed=seed)) for seed in (1, 1, 2))
    for _ in range(5):
        step([alone])
        move([first])
        move([second])
    assert first.batch is None
    torch.testing.assert_close(first.images(), alone.images())


def test_pictures_that_look_at_one_another_get_no_spare_lanes(model: LoadedModel, make_request: MakeRequest) -> None:
    ascent = Ascent(model, make_request(pictures=5))
    assert [cell.lanes for cell in layout.arranged([ascent.member()], layout.bucket)] == [6]
    object.__setattr__(ascent.recipe.objective, "key", None)
    assert [cell.lanes for cell in layout.arranged([ascent.member()], layout.bucket)] == [5]


def test_a_model_that_cannot_be_captured_is_stepped_all_the_same(
    model: LoadedModel, make_request: MakeRequest, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: Move) -> Move:
        raise RuntimeError("operation not permitted when stream is capturing")

    move, ascent = CapturedSteps(refuse), Ascent(model, make_request(transforms=values.Transforms()))
    for _ in range(6):
        move([ascent])
    assert ascent.step == 6
    assert len(caplog.records) == 1


def test_memory_that_runs_out_ends_what_is_kept_and_no_job(model: LoadedModel, make_request: MakeRequest) -> None:
    full = False

    def capture(move: Move) -> Move:
        if full:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return move

    move = CapturedSteps(capture)
    alone, kept = (Ascent(model, make_request(seed=1)) for _ in range(2))
    greedy = Ascent(model, make_request(pictures=3))
    for _ in range(4):
        step([alone])
        move([kept])
    full = True
    for _ in range(WARM_STEPS):
        move([greedy])
    with pytest.raises(torch.OutOfMemoryError):
        move([greedy])
    assert (greedy.step, greedy.batch, kept.batch, len(move._kept)) == (WARM_STEPS, None, None, 0)
    full = False
    for _ in range(4):
        step([alone])
        move([kept])
        move([greedy])
    torch.testing.assert_close(kept.images(), alone.images())
    assert greedy.step == WARM_STEPS + 4


def test_nothing_of_a_model_is_kept_when_it_is_gone(make_request: MakeRequest) -> None:
    move = CapturedSteps(Recorder())
    ascent = Ascent(loaded(tiny_graph()), make_request())
    for _ in range(4):
        move([ascent])
    assert len(move._kept) == 1
    del ascent
    assert len(move._kept) == 0

"""Steps on a GPU, asked for operation by operation and as captured graphs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from phosphene_server.engine.ascents import steps_on
from phosphene_server.engine.snapshots import snapshots_of
from phosphene_server.maximization.ascent import Ascent
from phosphene_server.maximization.batch import REDIRECTED_STEPS
from phosphene_server.maximization.plan import BLOCK_STEPS
from phosphene_server.maximization.stepping import Step, step
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values import maximization as values
from phosphene_server.values.maximization import MaximizeActivationRequest

pytestmark = pytest.mark.gpu

MakeRequest = Callable[..., MaximizeActivationRequest]

STEPS = REDIRECTED_STEPS + 8
"""Some steps of both kinds, with redirected rectifiers and without."""


@pytest.fixture(params=[False, True], ids=["uncaptured", "captured"])
def move(request: pytest.FixtureRequest, device: torch.device) -> Step:
    """What a worker steps with, without and with the capture of CUDA graphs."""
    return steps_on(device, captured=request.param)


def climbed(ascents: Sequence[Ascent], move: Step, steps: int = STEPS) -> Sequence[Ascent]:
    for _ in range(steps):
        move(ascents)
    return ascents


@contextmanager
def waiting_forbidden() -> Iterator[None]:
    """Make torch raise where the host would wait for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_picture_goes_up_as_on_the_cpu(
    model: LoadedModel, host_model: LoadedModel, make_request: MakeRequest, move: Step
) -> None:
    (here,) = climbed([Ascent(model, make_request(pictures=3))], move)
    (there,) = climbed([Ascent(host_model, make_request(pictures=3))], step)
    found, expected = here.history(), there.history()
    rise = expected[-1] - expected[0]
    assert (rise > 0).all()
    np.testing.assert_allclose(found[0], expected[0], atol=0.01 * np.abs(expected).max())  # TF32
    np.testing.assert_allclose(found[-1], expected[-1], atol=0.2 * rise.max())  # after steps that differ ever more


def test_the_same_request_gives_the_same_bytes(model: LoadedModel, make_request: MakeRequest, move: Step) -> None:
    first, second = ([Ascent(model, make_request(pictures=2))] for _ in range(2))
    assert torch.equal(climbed(first, move)[0].images(), climbed(second, move)[0].images())


def test_captured_steps_do_what_uncaptured_ones_do(
    device: torch.device, model: LoadedModel, make_request: MakeRequest
) -> None:
    plain, captured = (
        climbed([Ascent(model, make_request())], steps_on(device, captured=choice)) for choice in (False, True)
    )
    np.testing.assert_allclose(captured[0].history(), plain[0].history(), rtol=1e-3)


def test_a_lane_in_company_is_the_lane_alone(model: LoadedModel, make_request: MakeRequest, move: Step) -> None:
    requests = [make_request(seed=seed, parameterization=kind) for seed, kind in enumerate(parameterizations())]
    alone = [climbed([Ascent(model, request)], step, 4)[0] for request in requests]
    together = climbed([Ascent(model, request) for request in requests], move, 4)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.history()[0], one.history()[0], rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(other.history()[-1], one.history()[-1], rtol=2e-2, atol=1e-3)


def parameterizations() -> list[values.Parameterization]:
    """Return some of each kind, so that the batch is computed in parts."""
    return [values.FourierParameterization(), values.PixelParameterization()] * 3


def test_no_step_makes_the_host_wait(model: LoadedModel, make_request: MakeRequest, move: Step) -> None:
    ascents = [Ascent(model, make_request(seed=seed)) for seed in range(3)]
    climbed(ascents, move)  # kernels are chosen, memory is taken and steps are captured
    with waiting_forbidden():
        climbed(ascents, move, BLOCK_STEPS)  # beyond the end of a block, whose successor is sent to the device


def test_a_frame_makes_the_loop_wait_for_nothing(
    device: torch.device, model: LoadedModel, make_request: MakeRequest, move: Step
) -> None:
    (ascent,) = climbed([Ascent(model, make_request())], move)
    snapshots = snapshots_of(device)
    snapshots.pixels(ascent.images())()
    with waiting_forbidden():
        pixels = snapshots.pixels(ascent.images())
        climbed([ascent], move, 4)
    assert pixels()[0].shape == (64, 64, 3)


def test_a_frame_shows_the_step_at_which_it_was_asked_for(
    device: torch.device, model: LoadedModel, make_request: MakeRequest, move: Step
) -> None:
    (ascent,) = climbed([Ascent(model, make_request())], move)
    expected = (ascent.images() * 255 + 0.5).floor().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    pixels = snapshots_of(device).pixels(ascent.images())
    climbed([ascent], move)
    np.testing.assert_array_equal(pixels()[0], expected[0])


def test_an_ascent_goes_on_from_its_state(model: LoadedModel, make_request: MakeRequest, move: Step) -> None:
    request = make_request()
    (whole,) = climbed([Ascent(model, request)], move)
    (half,) = climbed([Ascent(model, request)], move, STEPS // 2)
    rest = Ascent.restore(model, request, half.state())
    climbed([rest], move, STEPS - STEPS // 2)
    assert torch.equal(rest.images(), whole.images())

"""Maximizations of the bundled network in a real worker process."""

import asyncio
import os
import signal
import time

import numpy as np
import pytest

from phosphene_server.models.repository import Repository
from phosphene_server.settings import Settings
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import (
    ClassLogitObjective,
    FrameOptions,
    MaximizeActivationRequest,
    ResultOptions,
)
from phosphene_server.values.model import ModelReference
from phosphene_server.values.work import (
    DescribeModel,
    JobFailed,
    JobFinished,
    JobFramed,
    JobProgressed,
    JobWarned,
    MaximizationJob,
    PrepareMaximization,
)
from phosphene_server.workers.local import LocalWorker
from phosphene_server.workers.supervisor import SupervisedWorker

SOURCE = Repository(None).resolve(ModelReference("shapes"))


class Front:
    """A supervised worker and what its listener heard."""

    def __init__(self, **settings) -> None:
        self.settings = Settings(threads=1, **settings)
        self.events: list = []
        self.heard = asyncio.Event()
        self.processes: list[LocalWorker] = []
        self.worker = SupervisedWorker(self._make, self.settings, self._hear)

    def _make(self, listener, *, on_exit) -> LocalWorker:
        self.processes.append(LocalWorker(self.settings, listener, on_exit=on_exit))
        return self.processes[-1]

    def _hear(self, event) -> None:
        self.events.append(event)
        self.heard.set()

    def kill(self) -> None:
        os.kill(self.processes[-1]._line._process.pid, signal.SIGKILL)

    def of(self, job_id: str, kind: type) -> list:
        return [event for event in self.events if event.job_id == job_id and isinstance(event, kind)]

    async def until(self, job_id: str, happened) -> None:
        while not any(event.job_id == job_id and happened(event) for event in self.events):
            self.heard.clear()
            await asyncio.wait_for(self.heard.wait(), 120)

    async def submit(self, job_id: str, **request) -> None:
        request = {"steps": 40, "size": ImageSize(32, 32), "seed": 7, "frames": FrameOptions(every_steps=4)} | request
        wish = MaximizeActivationRequest(SOURCE.reference, ClassLogitObjective(0), **request)
        prepared = await self.worker.run(PrepareMaximization(SOURCE, wish))
        self.worker.submit(MaximizationJob(job_id, SOURCE, prepared))

    async def result(self, job_id: str):
        await self.until(job_id, lambda event: isinstance(event, JobFinished | JobFailed))
        (end,) = self.of(job_id, JobFinished | JobFailed)
        assert isinstance(end, JobFinished), end.error
        return end.result


@pytest.fixture
async def make_front():
    fronts = []

    async def make(**settings) -> Front:
        fronts.append(Front(**settings))
        await fronts[-1].worker.start()
        return fronts[-1]

    yield make
    for front in fronts:
        await front.worker.stop()


def step_of(event) -> int:
    for name in ("progress", "frame", "warning", "result"):
        if hasattr(event, name):
            return getattr(event, name).step
    raise AssertionError(event)


async def test_a_job_tells_its_events_in_order_and_a_result(make_front):
    front = await make_front()
    await front.submit("a", result=ResultOptions(tensors=True))
    result = await front.result("a")
    assert [frame.frame.step for frame in front.of("a", JobFramed)] == list(range(4, 41, 4))
    steps = [step_of(event) for event in front.events]
    assert steps == sorted(steps)
    assert (result.step, result.stop_reason, result.history.shape) == (40, "steps", (40, 1))
    assert result.tensors[0].shape == (3, 32, 32)


async def test_a_job_whose_worker_is_killed_ends_with_the_same_picture(make_front):
    undisturbed = await make_front()
    wish = {"steps": 120, "result": ResultOptions(tensors=True)}
    await undisturbed.submit("a", **wish)
    expected = await undisturbed.result("a")
    front = await make_front(checkpoint_seconds=0.1)
    await front.submit("a", **wish)
    await front.until("a", lambda event: isinstance(event, JobFramed) and event.frame.step >= 60)
    front.kill()
    result = await front.result("a")
    np.testing.assert_array_equal(result.tensors[0], expected.tensors[0])
    np.testing.assert_array_equal(result.history, expected.history)
    assert result.images == expected.images
    warnings = [event.warning for event in front.of("a", JobWarned)]
    assert [warning.reason for warning in warnings] == ["WORKER_RESTARTED"]
    assert "goes on from step 0" not in warnings[0].message
    steps = [step_of(event) for event in front.events]
    assert steps == sorted(steps)


async def test_a_cancelled_job_ends_before_its_next_step_with_its_picture(make_front):
    front = await make_front()
    await front.submit("a", steps=100_000)
    await front.until("a", lambda event: isinstance(event, JobFramed))
    began = time.monotonic()
    front.worker.cancel("a")
    result = await front.result("a")
    assert time.monotonic() - began < 5
    assert result.stop_reason == "cancelled"
    assert len(result.images) == 1


async def test_a_task_is_answered_while_a_job_runs(make_front):
    front = await make_front()
    await front.submit("a", steps=100_000)
    await front.until("a", lambda event: isinstance(event, JobProgressed) and event.progress.step > 0)
    model = await asyncio.wait_for(front.worker.run(DescribeModel(SOURCE)), 10)
    assert model.sha256 == SOURCE.sha256
    assert not front.of("a", JobFinished)


async def test_jobs_that_run_together_each_get_their_own_result(make_front):
    front = await make_front()
    for job_id, seed in (("a", 1), ("b", 2)):
        await front.submit(job_id, seed=seed, steps=20)
    results = [await front.result(job_id) for job_id in "ab"]
    assert [result.step for result in results] == [20, 20]
    assert results[0].images != results[1].images

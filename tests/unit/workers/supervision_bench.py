"""A supervised worker whose workers are fakes that the test lets work and die."""

import asyncio
from pathlib import Path

import numpy as np

from phosphene_server.errors import WorkerLost
from phosphene_server.settings import Settings
from phosphene_server.values.image import EncodedImage, ImageSize
from phosphene_server.values.maximization import (
    ChannelObjective,
    MaximizationFrame,
    MaximizationProgress,
    MaximizationResult,
    MaximizationWarning,
    MaximizeActivationRequest,
)
from phosphene_server.values.model import ModelReference, Preprocessing
from phosphene_server.values.work import (
    Checkpoint,
    JobCheckpointed,
    JobEvent,
    JobFailed,
    JobFinished,
    JobFramed,
    JobProgressed,
    JobWarned,
    MaximizationJob,
    ModelSource,
    Task,
    UnloadModel,
)
from phosphene_server.workers.supervisor import SupervisedWorker

TASK = UnloadModel(ModelReference("paper"))


def make_job(job_id: str) -> MaximizationJob:
    reference = ModelReference("paper", "1", "onnx")
    preprocessing = Preprocessing("rgb", 0.0, 1.0, (0.0,) * 3, (1.0,) * 3, ImageSize(8, 8), False)
    source = ModelSource(reference, Path("model.onnx"), "00", 1, "", preprocessing, (), "")
    return MaximizationJob(job_id, source, MaximizeActivationRequest(reference, ChannelObjective("conv"), steps=100))


class FakeWorker:
    """Remembers what it was given; the test says what its jobs tell and when it dies."""

    def __init__(self, listener, *, on_exit, fails_to_start: bool = False) -> None:
        self._listener = listener
        self._on_exit = on_exit
        self._fails_to_start = fails_to_start
        self._tasks: list[asyncio.Future] = []
        self.jobs: dict[str, MaximizationJob] = {}
        self.cancelled: list[str] = []
        self.stopped = False

    async def start(self) -> None:
        if self._fails_to_start:
            raise WorkerLost("no device")

    async def run(self, task: Task):
        self._tasks.append(asyncio.get_running_loop().create_future())
        return await self._tasks[-1]

    def submit(self, job: MaximizationJob) -> None:
        self.jobs[job.job_id] = job

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    async def stop(self) -> None:
        self.stopped = True

    def die(self) -> None:
        self._on_exit("killed by SIGKILL")
        for task in self._tasks:
            if not task.done():
                task.set_exception(WorkerLost("killed by SIGKILL"))

    def answer(self) -> None:
        for task in self._tasks:
            task.set_result(True)

    def progress(self, job_id: str, step: int, *, queue_position: int = 0) -> None:
        self._listener(JobProgressed(job_id, MaximizationProgress(step, 100, queue_position=queue_position)))

    def frame(self, job_id: str, step: int) -> None:
        self._listener(JobFramed(job_id, MaximizationFrame(step, (EncodedImage(b"x"),), (0.0,))))

    def warn(self, job_id: str, step: int) -> None:
        self._listener(JobWarned(job_id, MaximizationWarning(step, "NO_GRADIENT", "silent")))

    def checkpoint(self, job_id: str, step: int) -> None:
        self._listener(JobCheckpointed(job_id, Checkpoint(step, b"state")))

    def finish(self, job_id: str) -> None:
        result = MaximizationResult(100, "steps", (), (), (), np.zeros((0, 1)), 1.0)
        self._listener(JobFinished(job_id, result))


class SupervisionBench:
    """Makes the fakes and keeps what the listener heard."""

    def __init__(self, settings: Settings) -> None:
        self.workers: list[FakeWorker] = []
        self.events: list[JobEvent] = []
        self.pauses: list[float] = []
        self.failing_starts = 0
        self.supervised = SupervisedWorker(self._make_worker, settings, self.events.append, sleep=self._sleep)

    @property
    def worker(self) -> FakeWorker:
        """The worker of today."""
        return self.workers[-1]

    async def lose_worker(self) -> None:
        """Let the worker die and wait until the next one is there."""
        self.worker.die()
        await settle()

    def of(self, job_id: str, kind: type) -> list:
        return [event for event in self.events if event.job_id == job_id and isinstance(event, kind)]

    def ended(self, job_id: str) -> bool:
        return bool(self.of(job_id, JobFinished) + self.of(job_id, JobFailed))

    def _make_worker(self, listener, *, on_exit) -> FakeWorker:
        self.failing_starts -= 1
        self.workers.append(FakeWorker(listener, on_exit=on_exit, fails_to_start=self.failing_starts >= 0))
        return self.workers[-1]

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


async def settle() -> None:
    """Let everything that can go on do so."""
    for _ in range(50):
        await asyncio.sleep(0)

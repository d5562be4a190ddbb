"""An engine with pictures that are numbers: no torch, no model, a clock that only moves when a step takes time."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from phosphene_server.engine.engine import Engine
from phosphene_server.settings import Settings
from phosphene_server.values.image import EncodedImage, ImageSize
from phosphene_server.values.maximization import ChannelObjective, FrameOptions, MaximizeActivationRequest
from phosphene_server.values.model import ModelReference, Preprocessing
from phosphene_server.values.work import (
    Checkpoint,
    JobEvent,
    JobFailed,
    JobFinished,
    MaximizationJob,
    ModelSource,
    UnloadModel,
)

REFERENCE = ModelReference("paper", "1", "onnx")


def make_source(name: str = "paper", *, sha256: str = "00") -> ModelSource:
    preprocessing = Preprocessing("rgb", 0.0, 1.0, (0.0,) * 3, (1.0,) * 3, ImageSize(8, 8), False)
    return ModelSource(replace(REFERENCE, name=name), Path("model.onnx"), sha256, 1, "", preprocessing, (), "")


def make_job(
    job_id: str,
    *,
    steps: int = 4,
    every_steps: int = 0,
    model: str = "paper",
    checkpoint: Checkpoint | None = None,
) -> MaximizationJob:
    frames = FrameOptions(every_steps=every_steps)
    objective = ChannelObjective("conv")
    request = MaximizeActivationRequest(replace(REFERENCE, name=model), objective, steps=steps, seed=0, frames=frames)
    return MaximizationJob(job_id, make_source(model), request, checkpoint)


@dataclass(eq=False)
class FakeLanes:
    """Lanes whose only picture is the number of the step."""

    job: MaximizationJob
    group_key: str
    step: int = 0
    warnings: list = field(default_factory=list)
    released: bool = False
    fails_at_report: bool = False

    def objective(self) -> tuple[float, ...]:
        return (float(self.step),)

    def plain_objective(self) -> tuple[float, ...]:
        return (self.step + 0.5,)

    def pixels(self):
        return (np.full((8, 8, 3), self.step % 256, np.uint8),)

    def arrays(self):
        return (np.full((3, 8, 8), self.step, np.float32),)

    def history(self):
        return np.arange(1.0, self.step + 1)[:, None]

    def stop_reason(self):
        if self.fails_at_report:
            raise RuntimeError("secret detail of the report")
        return "steps" if self.step >= self.job.request.steps else None

    def take_warnings(self):
        taken, self.warnings = self.warnings, []
        return taken

    def state(self) -> bytes:
        return str(self.step).encode()

    def release(self) -> None:
        self.released = True


class FakeMaximizer:
    """Steps fake lanes; a step takes as many seconds as its group key says after the colon."""

    def __init__(self, clock: "FakeClock") -> None:
        self.clock = clock
        self.lanes: dict[str, FakeLanes] = {}
        self.batches: list[tuple[str, ...]] = []
        self.refused: dict[str, Exception] = {}
        self.poison: dict[str, Exception] = {}
        self.before_step: Callable[[], None] = lambda: None

    def begin(self, job: MaximizationJob, state: bytes | None) -> FakeLanes:
        if job.job_id in self.refused:
            raise self.refused[job.job_id]
        lanes = FakeLanes(job, job.source.reference.name, step=int(state or 0))
        self.lanes[job.job_id] = lanes
        return lanes

    def step(self, lanes: Sequence[FakeLanes]) -> None:
        self.before_step()
        self.batches.append(tuple(lane.job.job_id for lane in lanes))
        self.clock.now += float(lanes[0].group_key.partition(":")[2] or 0.01)
        for lane in lanes:
            if lane.job.job_id in self.poison:
                raise self.poison[lane.job.job_id]
        for lane in lanes:
            lane.step += 1


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """An engine with fakes around it; `run` runs it on this thread until every job has ended."""

    def __init__(self, settings: Settings) -> None:
        self.clock = FakeClock()
        self.maximizer = FakeMaximizer(self.clock)
        self.events: list[JobEvent] = []
        self.encoded = threading.Event()
        self.encoded.set()
        self.failing_encoder = False
        self.task_steps: list[int] = []
        self._jobs = 0
        self._lock = threading.Lock()
        self.engine = Engine(
            settings,
            maximizer=self.maximizer,
            run_task=self._run_task,
            encode=self._encode,
            tell=self._tell,
            clock=self.clock,
        )

    def submit(self, job: MaximizationJob) -> None:
        self._jobs += 1
        self.engine.submit(job)

    def run(self) -> list[JobEvent]:
        self.engine.run()
        return self.events

    def wait_for_encoders(self) -> None:
        """Let compression keep up, as it does where a step takes its time."""
        while any(job.outlet.waiting for job in self.engine._running.values()):
            time.sleep(0.0005)

    def of(self, job_id: str, kind: type | None = None) -> list:
        return [event for event in self.events if event.job_id == job_id and isinstance(event, kind or object)]

    def _tell(self, event: JobEvent) -> None:
        with self._lock:
            self.events.append(event)
            self._jobs -= isinstance(event, JobFinished | JobFailed)
            if self._jobs == 0:
                self.engine.stop()

    def _encode(self, picture, encoding, *, default) -> EncodedImage:
        self.encoded.wait(10)
        if self.failing_encoder:
            raise ValueError("secret detail of the encoder")
        return EncodedImage(bytes([picture[0, 0, 0]]), f"image/{encoding.format or default}")

    def _run_task(self, task: UnloadModel) -> bool:
        self.task_steps.append(len(self.maximizer.batches))
        if task.reference.name == "broken":
            raise ZeroDivisionError("secret detail of the task")
        return True

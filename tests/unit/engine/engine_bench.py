"""An engine with pictures that are numbers: no torch, no model, a clock that only moves when a step takes time."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from phosphene_server.engine.engine import Engine
from phosphene_server.engine.footprints import Footprint, kind_of
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

    def objective(self):
        return self._later((float(self.step),))

    def plain_objective(self):
        return self._later((self.step + 0.5,))

    def pixels(self):
        return self._later((np.full((8, 8, 3), self.step % 256, np.uint8),))

    def arrays(self):
        return self._later((np.full((3, 8, 8), self.step, np.float32),))

    @staticmethod
    def _later(outcome):
        return lambda: outcome

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
        self.footprints: dict[str, Footprint] = {}
        self.measured: list[str] = []
        """The jobs whose steps were measured."""
        self.before_step: Callable[[], None] = lambda: None
        self.on_measured: Callable[[], None] = lambda: None

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

    def measured_step(self, lanes: FakeLanes) -> Footprint:
        self.step([lanes])
        self.measured.append(lanes.job.job_id)
        self.on_measured()
        return self.footprint(lanes.job)

    def footprint(self, job: MaximizationJob) -> Footprint:
        """Return what a lane of a job really takes."""
        return self.footprints.get(job.source.reference.name, Footprint())


class FakeModels:
    """Models that are there at once, unless a test says otherwise."""

    size_bytes = 0

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self.holds: list[str] = []
        self.load: Callable[[str], None] = lambda name: None

    def has(self, source: ModelSource) -> bool:
        return source.reference.name not in self.missing

    def hold_if_there(self, source: ModelSource) -> bool:
        if self.has(source):
            self.hold(source)
            return True
        return False

    def hold(self, source: ModelSource) -> None:
        if not self.has(source):
            self.load(source.reference.name)
        self.missing.discard(source.reference.name)
        self.holds.append(source.reference.name)

    def release(self, source: ModelSource) -> None:
        self.holds.remove(source.reference.name)

    def drop_idle(self, size_bytes: int, *, keep: ModelSource) -> None:
        self.size_bytes = 0


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """An engine with fakes around it; `run` runs it on this thread until every job has ended."""

    def __init__(
        self, settings: Settings, *, lanes_per_step: int = 8, memory_bytes: int = 1000, new_kinds: bool = False
    ) -> None:
        self.models = FakeModels()
        self.clock = FakeClock()
        self.maximizer = FakeMaximizer(self.clock)
        self.events: list[JobEvent] = []
        self.encoded = threading.Event()
        self.encoded.set()
        self.failing_encoder = False
        self.task_steps: list[int] = []
        self.new_kinds = new_kinds
        """Whether the memory that jobs take is not known to the engine."""
        self._jobs = 0
        self._lock = threading.Lock()
        self.engine = Engine(
            settings,
            models=self.models,
            maximizer=self.maximizer,
            run_task=lambda task, between_steps: self.run_task(task, between_steps),
            encode=lambda *picture, **options: self._encode(*picture, **options),
            tell=self._tell,
            lanes_per_step=lanes_per_step,
            memory_bytes=memory_bytes,
            clock=self.clock,
        )

    def hold_loads(self) -> tuple[threading.Event, threading.Event]:
        """Have models take long to load; return what is set when a load has begun, and what lets it end."""
        begun, may_end = threading.Event(), threading.Event()

        def load(name: str) -> None:
            begun.set()
            assert may_end.wait(10)

        self.models.load = load
        return begun, may_end

    def submit(self, job: MaximizationJob) -> None:
        self._jobs += 1
        if not self.new_kinds:
            self.engine._book.learn(kind_of(job), self.maximizer.footprint(job))
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

    def run_task(self, task: UnloadModel, between_steps) -> bool:
        self.task_steps.append(len(self.maximizer.batches))
        if task.reference.name == "broken":
            raise ZeroDivisionError("secret detail of the task")
        return True

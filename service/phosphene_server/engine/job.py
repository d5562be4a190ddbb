"""One job in the engine: first it waits, then it runs and reports after each of its steps."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from phosphene_server.engine.cadence import FrameCadence, Interval, Speed
from phosphene_server.engine.lanes import Encode, LanesKind
from phosphene_server.engine.outlet import Outlet
from phosphene_server.settings import Settings
from phosphene_server.values.maximization import (
    MaximizationFrame,
    MaximizationProgress,
    MaximizationResult,
    StopReason,
)
from phosphene_server.values.work import (
    Checkpoint,
    JobCheckpointed,
    JobFinished,
    JobFramed,
    JobProgressed,
    JobWarned,
    MaximizationJob,
)

WAITING_EVENTS = 4
"""Events of a job that may wait for the compression of its frames; while more do, its next frames are skipped."""

CHECKPOINT_SHARE = 0.05
"""The share of its time that a job may spend on checkpoints; those of large jobs become rarer."""


@dataclass(frozen=True)
class SavedJob:
    """What the engine puts into a checkpoint."""

    lanes: bytes | None = None
    seconds: float = 0.0
    """How long the job has run."""
    skipped_frames: int = 0

    @staticmethod
    def of(job: MaximizationJob) -> "SavedJob":
        """Return what a job goes on from; it is empty for a new one."""
        if job.checkpoint is None:
            return SavedJob()
        saved: SavedJob = pickle.loads(job.checkpoint.state)
        return saved


class WaitingJob:
    """A job that is not started yet."""

    def __init__(self, job: MaximizationJob, outlet: Outlet) -> None:
        self.job = job
        self.outlet = outlet
        self._position = -1

    def tell_position(self, position: int) -> None:
        """Tell how many jobs are started before this one, if that changed; 1 is the next, 0 means that it runs now."""
        if position != self._position:
            self._position = position
            step = self.job.checkpoint.step if self.job.checkpoint else 0
            progress = MaximizationProgress(step, self.job.request.steps, queue_position=position)
            self.outlet.put(JobProgressed(self.job.job_id, progress))

    def finish_unseen(self) -> None:
        """End a job that was cancelled before it had a picture: step 0, no pictures and an empty history."""
        history = np.zeros((0, self.job.request.pictures))
        result = MaximizationResult(0, "cancelled", (), (), (), history, 0.0)
        self.outlet.put(JobFinished(self.job.job_id, result))


class RunningJob(Generic[LanesKind]):
    """A job whose lanes are being stepped."""

    def __init__(
        self,
        job: MaximizationJob,
        saved: SavedJob,
        lanes: LanesKind,
        outlet: Outlet,
        *,
        encode: Encode,
        settings: Settings,
        clock: Callable[[], float],
    ) -> None:
        now = clock()
        self.job = job
        self.lanes = lanes
        self.outlet = outlet
        self.alone = False
        """True when it may not be stepped in one batch with others, because such a batch failed."""
        self._encode = encode
        self._clock = clock
        self._began = now - saved.seconds
        self._skipped_frames = saved.skipped_frames
        self._speed = Speed(lanes.step, now=now)
        self._frames = FrameCadence(job.request.frames, now=now)
        self._progress = Interval(settings.progress_seconds, now=now)
        self._checkpoints = Interval(settings.checkpoint_seconds, now=now)

    def report(self, *, last: bool) -> None:
        """Tell what there is to tell after a step; of the last step always how far the job is."""
        now = self._clock()
        for warning in self.lanes.take_warnings():
            self.outlet.put(JobWarned(self.job.job_id, warning))
        if self._frames.takes(self.lanes.step, now=now):
            self._put_frame()
        if last or self._progress.passed(now=now):
            self._progress.restart(now=now)
            self.outlet.put(JobProgressed(self.job.job_id, self._how_far(now)))
        if not last and self._checkpoints.passed(now=now):
            self._put_checkpoint(now)

    def finish(self, reason: StopReason) -> None:
        """Tell the result, compressed after the frames before it."""
        lanes, options = self.lanes, self.job.request.result
        pixels = lanes.pixels()
        result = partial(
            MaximizationResult,
            step=lanes.step,
            stop_reason=reason,
            tensors=lanes.arrays() if options.tensors else (),
            objective=lanes.plain_objective(),
            history=lanes.history(),
            duration=self._clock() - self._began,
        )

        def make() -> JobFinished:
            images = tuple(self._encode(picture, options.encoding, default="png") for picture in pixels)
            return JobFinished(self.job.job_id, result(images=images))

        self.outlet.put_made(make)

    def _put_frame(self) -> None:
        if self.outlet.waiting >= WAITING_EVENTS:
            self._skipped_frames += 1
            return
        self.outlet.put_made(
            partial(
                self._make_frame,
                self.lanes.pixels(),
                step=self.lanes.step,
                objective=self.lanes.objective(),
                dropped=self._skipped_frames,
            )
        )

    def _make_frame(
        self, pixels: tuple[NDArray[np.uint8], ...], *, step: int, objective: tuple[float, ...], dropped: int
    ) -> JobFramed:
        encoding = self.job.request.frames.encoding
        images = tuple(self._encode(picture, encoding, default="webp") for picture in pixels)
        return JobFramed(self.job.job_id, MaximizationFrame(step, images, objective, dropped))

    def _how_far(self, now: float) -> MaximizationProgress:
        step, steps = self.lanes.step, self.job.request.steps
        speed = self._speed.mark(step, now=now)
        remaining = (steps - step) / speed if speed > 0 else None
        return MaximizationProgress(step, steps, self.lanes.objective(), speed, remaining)

    def _put_checkpoint(self, now: float) -> None:
        saved = SavedJob(self.lanes.state(), now - self._began, self._skipped_frames)
        self.outlet.put(JobCheckpointed(self.job.job_id, Checkpoint(self.lanes.step, pickle.dumps(saved))))
        cost = self._clock() - now
        self._checkpoints.restart(now=now, at_least_seconds=cost / CHECKPOINT_SHARE)

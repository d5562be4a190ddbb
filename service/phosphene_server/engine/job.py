"""One job in the engine: first it waits, then it runs and reports after each of its steps."""

import pickle
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from phosphene_server.engine.cadence import FrameCadence, Interval, Speed, Thrift
from phosphene_server.engine.footprints import Footprint, kind_of
from phosphene_server.engine.lanes import Encode, LanesKind, Later, Numbers
from phosphene_server.engine.outlet import Outlet
from phosphene_server.engine.waiting_line import rank
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
"""The share of all time that checkpoints may take; those of large or many jobs become rarer."""

PROGRESS_PER_SECOND = 100
"""Progress events that all jobs of a worker tell together, about; with many jobs those of each become rarer."""


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

    def __init__(self, job: MaximizationJob, outlet: Outlet, *, now: float) -> None:
        self.job = job
        self.outlet = outlet
        self.owner = owner_of(job)
        self.lanes = job.request.pictures
        self.rank = rank(arrival_seconds=now, priority=job.request.priority)
        self.kind = kind_of(job)
        self.loading = False
        """Whether it waits for its model."""
        self.refusal: Exception | None = None
        """Why it cannot be started; told when its turn comes."""
        self._position = -1

    def tell_position(self, position: int) -> None:
        """Tell its place among those that wait, if that changed; 1 is the next, 0 means that it runs now."""
        if position == self._position:
            return
        self._position = position
        step = self.job.checkpoint.step if self.job.checkpoint else 0
        progress = MaximizationProgress(step, self.job.request.steps, queue_position=position)
        self.outlet.put(JobProgressed(self.job.job_id, progress))

    def finish_unseen(self) -> None:
        """End a job that was cancelled before it had a picture: step 0, no pictures and an empty history."""
        history = np.zeros((0, self.job.request.pictures))
        result = MaximizationResult(0, "cancelled", (), (), (), history, 0.0)
        self.outlet.put(JobFinished(self.job.job_id, result))


@dataclass(frozen=True)
class Surroundings:
    """What all running jobs share."""

    encode: Encode
    clock: Callable[[], float]
    progress_seconds: Callable[[], float]
    """Returns the time between two progress events of a job."""
    checkpoint_seconds: float
    checkpoints: Thrift


class RunningJob(Generic[LanesKind]):
    """A job whose lanes are being stepped."""

    def __init__(
        self,
        job: MaximizationJob,
        saved: SavedJob,
        lanes: LanesKind,
        outlet: Outlet,
        *,
        kind: Hashable,
        footprint: Footprint,
        trial_steps: int,
        surroundings: Surroundings,
    ) -> None:
        """Take a job that is about to be stepped.

        Args:
            job: The job.
            saved: What it goes on from.
            lanes: Its pictures.
            outlet: Where its events go.
            kind: Jobs of one kind have one footprint.
            footprint: What a lane takes, or is taken to take.
            trial_steps: The steps that it must make alone until its footprint is known.
            surroundings: What all jobs share.
        """
        now = surroundings.clock()
        self.job = job
        self.work = lanes
        self.outlet = outlet
        self.kind = kind
        self.footprint = footprint
        self.trial_steps = trial_steps
        self.owner = owner_of(job)
        self.priority = job.request.priority
        self.lanes = job.request.pictures
        self.group: Hashable = lanes.group_key
        self.suspect = False
        """True when it must be stepped alone next, because a batch that it was in failed."""
        self.overloaded = False
        """True when its last step, made alone, was too much for the memory."""
        self._surroundings = surroundings
        self._began = now - saved.seconds
        self._skipped_frames = saved.skipped_frames
        self._speed = Speed(lanes.step, now=now)
        self._frames = FrameCadence(job.request.frames, now=now)
        self._progress = Interval(surroundings.progress_seconds(), now=now)
        self._checkpoints = Interval(surroundings.checkpoint_seconds, now=now)

    @property
    def step_bytes_per_lane(self) -> int:
        """The memory that a lane takes while it is stepped."""
        return self.footprint.step

    def report(self, *, last: bool, now: float) -> None:
        """Tell what there is to tell after a step; of the last step always how far the job is."""
        for warning in self.work.take_warnings():
            self.outlet.put(JobWarned(self.job.job_id, warning))
        if self._frames.takes(self.work.step, now=now):
            self._put_frame()
        if last or self._progress.passed(now=now):
            self._progress.restart(now=now, at_least_seconds=self._surroundings.progress_seconds())
            self._put_progress(now)
        if not last and self._checkpoints.passed(now=now) and self._surroundings.checkpoints.allows(now=now):
            self._put_checkpoint(now)

    def finish(self, reason: StopReason) -> None:
        """Tell the result, read and compressed after the frames before it; no further step may be made."""
        options = self.job.request.result
        make = partial(
            self._make_result,
            pixels=self.work.pixels(),
            arrays=self.work.arrays() if options.tensors else None,
            objective=self.work.plain_objective(),
            step=self.work.step,
            reason=reason,
            duration=self._surroundings.clock() - self._began,
        )
        self.outlet.put_made(make)

    def _make_result(
        self,
        *,
        pixels: Later[tuple[NDArray[np.uint8], ...]],
        arrays: Later[tuple[NDArray[np.float32], ...]] | None,
        objective: Later[Numbers],
        step: int,
        reason: StopReason,
        duration: float,
    ) -> JobFinished:
        encoding = self.job.request.result.encoding
        result = MaximizationResult(
            step=step,
            stop_reason=reason,
            images=tuple(self._surroundings.encode(picture, encoding, default="png") for picture in pixels()),
            tensors=arrays() if arrays is not None else (),
            objective=objective(),
            history=self.work.history(),
            duration=duration,
        )
        return JobFinished(self.job.job_id, result)

    def _put_frame(self) -> None:
        if self.outlet.waiting >= WAITING_EVENTS:
            self._skipped_frames += 1
            return
        step, dropped = self.work.step, self._skipped_frames
        make = partial(self._make_frame, self.work.pixels(), self.work.objective(), step=step, dropped=dropped)
        self.outlet.put_made(make)

    def _make_frame(
        self, pixels: Later[tuple[NDArray[np.uint8], ...]], objective: Later[Numbers], *, step: int, dropped: int
    ) -> JobFramed:
        encoding = self.job.request.frames.encoding
        images = tuple(self._surroundings.encode(picture, encoding, default="webp") for picture in pixels())
        return JobFramed(self.job.job_id, MaximizationFrame(step, images, objective(), dropped))

    def _put_progress(self, now: float) -> None:
        step, steps = self.work.step, self.job.request.steps
        speed = self._speed.mark(step, now=now)
        remaining = (steps - step) / speed if speed > 0 else None
        objective = self.work.objective()

        def make() -> JobProgressed:
            return JobProgressed(self.job.job_id, MaximizationProgress(step, steps, objective(), speed, remaining))

        self.outlet.put_made(make)

    def _put_checkpoint(self, now: float) -> None:
        clock = self._surroundings.clock
        saved = SavedJob(self.work.state(), now - self._began, self._skipped_frames)
        self.outlet.put(JobCheckpointed(self.job.job_id, Checkpoint(self.work.step, pickle.dumps(saved))))
        self._checkpoints.restart(now=now)
        self._surroundings.checkpoints.spent(clock() - now, now=clock())


def owner_of(job: MaximizationJob) -> str:
    """Return who shares the device with others: whom the job names, otherwise itself."""
    return job.owner or job.job_id

"""One turn: which jobs are stepped, what it is charged, and what happens when it fails.

A job of a new kind makes its first steps alone, before all others, and is measured: see `trials.py`.

When the memory was too small for a batch, the group's batches are halved. When a batch failed in another way, each of
its jobs is stepped alone once, before all others: the guilty one fails there, alone, and the rest go on together. If
none fails alone, their company is to blame, and the group's batches are halved as well. A job that is too much for the
memory alone is tried once more, as what others had left there has been cleared away by then.
"""

import logging
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic

from phosphene_server.engine.failures import DeviceLost, told
from phosphene_server.engine.footprints import Footprint
from phosphene_server.engine.job import RunningJob
from phosphene_server.engine.lane_limits import LaneLimits
from phosphene_server.engine.lanes import LanesKind, Maximizer
from phosphene_server.engine.schedule import FairTurns
from phosphene_server.engine.timing import StepTimer
from phosphene_server.errors import Overloaded

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome(Generic[LanesKind]):
    """What a turn came to."""

    stepped: Sequence[RunningJob[LanesKind]]
    """The jobs that are a step ahead, also of a batch that failed half-way."""
    guilty: RunningJob[LanesKind] | None = None
    """The job that cannot go on."""
    error: Exception | None = None
    """Why not."""


class Stepper(Generic[LanesKind]):
    """Gives turns to running jobs."""

    def __init__(
        self,
        maximizer: Maximizer[LanesKind],
        timer: StepTimer,
        *,
        lanes_per_step: int,
        room_bytes: Callable[[], int],
        may_measure: Callable[[], bool],
        learn: Callable[[Hashable, Footprint], None],
    ) -> None:
        """Take what turns need.

        Args:
            maximizer: Steps lanes.
            timer: Times steps.
            lanes_per_step: The most lanes of a step, unless a single job has more.
            room_bytes: Tells the memory that is free for a step.
            may_measure: Tells whether nobody else takes memory now.
            learn: Hears the footprint of a kind of jobs.
        """
        self._maximizer = maximizer
        self._timer = timer
        self._room_bytes = room_bytes
        self._may_measure = may_measure
        self._learn = learn
        self._turns = FairTurns()
        self._limits = LaneLimits(lanes_per_step)

    def turn(self, jobs: Sequence[RunningJob[LanesKind]]) -> Outcome[LanesKind]:
        """Step some of the running jobs, of which there is at least one, the oldest first.

        Raises:
            DeviceLost: only a new process can go on.
        """
        tried = self._tried(jobs)
        batch = self._turns.next(jobs, lane_limit=self._limits.get, room_bytes=self._room_bytes())
        if tried is not None:
            batch = [tried]
        before = [job.work.step for job in batch]
        self._timer.begin()
        try:
            self._step(batch, on_trial=tried is not None)
        except Exception as error:
            failure: Exception | None = error
        else:
            failure = None
        self._timer.end(partial(self._charge, batch))
        stepped = [job for job, step in zip(batch, before, strict=True) if job.work.step != step]
        if failure is None:
            self._succeeded(batch, jobs)
            return Outcome(stepped)
        return self._failed(batch, jobs, stepped, failure)

    def settle(self) -> None:
        """Wait for all steps that were asked for."""
        self._timer.settle()

    def left(self, remaining: Collection[RunningJob[LanesKind]]) -> None:
        """Note that a job has left; forget what only it needed."""
        self._limits.keep({job.group for job in remaining})

    def _tried(self, jobs: Sequence[RunningJob[LanesKind]]) -> RunningJob[LanesKind] | None:
        """Return the job that must be stepped alone now, if there is one."""
        suspect = next((job for job in jobs if job.suspect), None)
        if suspect is None and self._may_measure():
            return next((job for job in jobs if job.trial_steps > 0), None)
        return suspect

    def _step(self, batch: Sequence[RunningJob[LanesKind]], *, on_trial: bool) -> None:
        first = batch[0]
        if not on_trial or first.trial_steps == 0 or first.suspect:
            self._maximizer.step([job.work for job in batch])
        elif first.trial_steps > 1:
            self._maximizer.step([first.work])
            first.trial_steps -= 1
        else:
            self._learn(first.kind, self._maximizer.measured_step(first.work))

    def _charge(self, batch: Sequence[RunningJob[LanesKind]], seconds: float) -> None:
        self._turns.charge(batch, seconds=seconds)

    def _succeeded(self, batch: Sequence[RunningJob[LanesKind]], jobs: Sequence[RunningJob[LanesKind]]) -> None:
        batch[0].overloaded = False
        if not batch[0].suspect:
            self._limits.succeeded(batch[0].group)
            return
        batch[0].suspect = False
        if not any(job.suspect for job in jobs):
            together = sum(job.lanes for job in jobs if job.group == batch[0].group)
            self._limits.failed(batch[0].group, lanes=together)

    def _failed(
        self,
        batch: Sequence[RunningJob[LanesKind]],
        jobs: Sequence[RunningJob[LanesKind]],
        stepped: Sequence[RunningJob[LanesKind]],
        error: Exception,
    ) -> Outcome[LanesKind]:
        if isinstance(error, DeviceLost):
            raise error
        if len(batch) == 1:
            if isinstance(error, Overloaded) and not batch[0].overloaded:
                batch[0].overloaded = True
                return Outcome(stepped)
            for job in jobs:
                job.suspect = False
            return Outcome(stepped, guilty=batch[0], error=error)
        reason = told(error, doing="stepping several maximizations in one batch")
        lanes = sum(job.lanes for job in batch)
        if isinstance(error, Overloaded):
            logger.warning("A batch of %d lanes failed (%s); half of them are stepped from now on.", lanes, reason)
            self._limits.failed(batch[0].group, lanes=lanes)
        else:
            logger.warning("A batch of %d jobs failed (%s); each is stepped alone once.", len(batch), reason)
            for job in batch:
                job.suspect = True
        return Outcome(stepped)

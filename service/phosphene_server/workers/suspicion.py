"""Which job is to blame when a worker is lost again and again.

A worker takes all its jobs with it when it ends, so a loss alone does not tell which of them, if any, is poisonous (it
may also have been the kernel, for want of memory, or an operator). The rule:

1. A loss counts against every job that ran. After the first one they are all resumed together.
2. After the second one of any of them, all that ran are *suspects*. Suspects are resumed one at a time, on trial; the
   trial ends when the job has told a checkpoint behind the step at which the worker was lost. Tasks and jobs that never
   ran wait meanwhile; jobs whose trial is over go on.
3. A loss during a trial counts against the job on trial alone, and so does a loss while one job ran and no task was
   asked for. Only such a loss can fail a job: when it is one more than `worker_restarts`.

So a poisonous job ends after a few losses, and takes no other job with it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from phosphene_server.values.maximization import MaximizationWarning
from phosphene_server.values.work import Checkpoint, JobEvent, JobFramed, JobProgressed, JobWarned, MaximizationJob

SUSPICIOUS_LOSSES = 2
"""Losses of one job that put all that ran beside it on trial; once may be chance."""


@dataclass(eq=False)
class SupervisedJob:
    """A job that has not ended, as the supervisor knows it."""

    job: MaximizationJob
    """What was submitted, with the latest checkpoint."""
    placed: bool = False
    """Whether the worker of today has it."""
    running: bool = False
    """Whether that worker has started it."""
    cancelled: bool = False
    losses: int = 0
    suspect: bool = False
    resumes: str = ""
    """How its worker ended, until the job is placed again; empty if it did not run then."""
    _told_step: int = 0
    _framed_step: int = 0
    _lost_step: int = 0
    _warnings: set[MaximizationWarning] = field(default_factory=set)

    def passes(self, event: JobEvent) -> bool:
        """Tell whether the listener should hear an event: a resumed job repeats steps, which it should not."""
        match event:
            case JobProgressed(progress=progress):
                self.running = self.running or progress.queue_position == 0
                return self._advances(progress.step)
            case JobFramed(frame=frame):
                new = frame.step > self._framed_step and self._advances(frame.step)
                self._framed_step = max(self._framed_step, frame.step)
                return new
            case JobWarned(warning=warning):
                new = warning not in self._warnings
                self._warnings.add(warning)
                return new
        return True

    def _advances(self, step: int) -> bool:
        """Note that the listener is told of a step, unless it has heard of a later one."""
        new = step >= self._told_step
        self._told_step = max(self._told_step, step)
        return new

    def save(self, checkpoint: Checkpoint) -> bool:
        """Keep a checkpoint. Returns whether it ends the trial of the job."""
        self.job = replace(self.job, checkpoint=checkpoint)
        ends = self.suspect and checkpoint.step > self._lost_step
        self.suspect = self.suspect and not ends
        return ends

    def lose(self, detail: str) -> None:
        """Note that the job is in no worker any more."""
        if self.running:
            self.resumes = detail
            self._lost_step = self._told_step
        self.placed = self.running = False

    def resume_warning(self) -> JobWarned:
        """Return what the listener is told when the job, which ran, is given to a new worker."""
        step = self.job.checkpoint.step if self.job.checkpoint else 0
        message = f"the worker process was lost ({self.resumes}); the job goes on from step {step}"
        return JobWarned(self.job.job_id, MaximizationWarning(self._told_step, "WORKER_RESTARTED", message))


def blame(jobs: Collection[SupervisedJob], *, tasks: int, worker_restarts: int) -> Sequence[SupervisedJob]:
    """Count a loss against the jobs that ran, and make suspects of them if need be.

    Args:
        jobs: All jobs at the moment of the loss.
        tasks: How many tasks the worker had been given and not answered.
        worker_restarts: The losses that a job may survive.

    Returns:
        The job that must fail now, or none.
    """
    running = [job for job in jobs if job.running]
    accused = [job for job in running if job.suspect] or running
    for job in accused:
        job.losses += 1
    certain = len(accused) == 1 and (accused[0].suspect or tasks == 0)
    if certain and accused[0].losses > worker_restarts:
        return accused
    if any(job.losses >= SUSPICIOUS_LOSSES for job in accused):
        for job in accused:
            job.suspect = True
    return ()


def placeable(jobs: Collection[SupervisedJob]) -> list[SupervisedJob]:
    """Return the jobs that the worker should be given now: all; during a trial, only the one on trial.

    A job that was cancelled never waits: it ends before its next step.
    """
    on_trial = next((job for job in jobs if job.suspect), None)
    return [job for job in jobs if not job.placed and (on_trial is None or job is on_trial or job.cancelled)]

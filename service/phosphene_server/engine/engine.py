"""The loop that steps maximizations and does short tasks between two steps."""

import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic

from phosphene_server.engine.cadence import Thrift
from phosphene_server.engine.errands import Errands
from phosphene_server.engine.failures import DeviceLost, told
from phosphene_server.engine.footprints import Footprint, MemoryBook
from phosphene_server.engine.job import (
    CHECKPOINT_SHARE,
    PROGRESS_PER_SECOND,
    RunningJob,
    SavedJob,
    Surroundings,
    WaitingJob,
)
from phosphene_server.engine.lanes import Encode, LanesKind, Maximizer
from phosphene_server.engine.loads import ModelLoads, Models
from phosphene_server.engine.outlet import Outlet, Tell
from phosphene_server.engine.stepping import Stepper
from phosphene_server.engine.task_line import Reply, TaskLine
from phosphene_server.engine.timing import HostTimer, StepTimer
from phosphene_server.engine.trials import TRIAL_STEPS, measure_one_picture
from phosphene_server.engine.waiting_room import WaitingRoom
from phosphene_server.settings import Settings
from phosphene_server.values.maximization import StopReason
from phosphene_server.values.work import BetweenSteps, JobFailed, MaximizationJob, Task, TaskReply

logger = logging.getLogger(__name__)

ENCODING_THREADS = 2
"""Threads that wait for copies and compress pictures; Pillow releases the interpreter lock while it does."""

CHORES_SECONDS = 0.03
"""How long ending and starting jobs may hold up the next step; what is left is done after it."""


class Engine(Generic[LanesKind]):
    """Owns the jobs of one device. `run` is the loop; all other public methods may be called on any thread.

    A job that fails takes no other with it; see `stepping.py`. Only `DeviceLost` ends the loop.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        models: Models,
        maximizer: Maximizer[LanesKind],
        run_task: Callable[[Task, BetweenSteps], TaskReply],
        encode: Encode,
        tell: Tell,
        lanes_per_step: int,
        memory_bytes: int,
        timer: StepTimer | None = None,
        clock: Callable[[], float] = time.monotonic,
        prepare_helper: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what the engine works with.

        Args:
            settings: Limits and intervals.
            models: The models that tasks and jobs use.
            maximizer: Makes and steps the pictures of jobs.
            run_task: Does a short task, when its model is there: between two steps, or if it is an errand on a thread
                beside them, with what does its parts between two steps.
            encode: Compresses pictures.
            tell: Hears the events of all jobs, those of one job in order, on several threads.
            lanes_per_step: The most lanes of a step.
            memory_bytes: What models and jobs may take together.
            timer: Times steps; None: those of the host.
            clock: Seconds, monotonic.
            prepare_helper: Called first on each thread that decodes or compresses pictures beside the loop.
        """
        self._maximizer = maximizer
        self._tell = tell
        self._clock = clock
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._encoders = ThreadPoolExecutor(ENCODING_THREADS, "encode", prepare_helper)
        self._errands = Errands(
            lambda part: self._inbox.put(partial(self._tasks.line_up, part)),
            on_loss=self._lose,
            prepare_helper=prepare_helper,
        )
        self._loads = ModelLoads(models, self._inbox.put, after=self._look_for_room)
        self._tasks = TaskLine(models, self._loads, run_task, self._errands)
        self._book = MemoryBook(memory_bytes, lambda: models.size_bytes)
        self._room = WaitingRoom(
            models,
            self._loads,
            self._book,
            partial(measure_one_picture, maximizer),
            maximum_lanes=settings.maximum_running_lanes,
            lanes_of_owner=lanes_per_step,
        )
        self._stepper = Stepper(
            maximizer,
            timer or HostTimer(clock),
            lanes_per_step=lanes_per_step,
            room_bytes=lambda: self._book.room_bytes,
            may_measure=lambda: not self._loads.busy,
            learn=self._learn,
        )
        self._running: dict[str, RunningJob[LanesKind]] = {}
        """The jobs that are stepped, the oldest first."""
        self._ending: deque[tuple[RunningJob[LanesKind], StopReason]] = deque()
        self._surroundings = Surroundings(
            encode=encode,
            clock=clock,
            progress_seconds=lambda: max(settings.progress_seconds, len(self._running) / PROGRESS_PER_SECOND),
            checkpoint_seconds=settings.checkpoint_seconds,
            checkpoints=Thrift(CHECKPOINT_SHARE, now=clock()),
        )
        self._stopping = False

    def submit(self, job: MaximizationJob) -> None:
        """Take a job; it is started when its turn comes and there is room for it."""
        self._inbox.put(partial(self._take, job))

    def cancel(self, job_id: str) -> None:
        """End a job before its next step; it tells what it has. Unknown jobs are ignored."""
        self._inbox.put(partial(self._cancel, job_id))

    def do(self, task: Task, reply: Reply) -> None:
        """Do a task as soon as its model is there: an errand beside the steps, others between two, in their order."""
        if not self._tasks.begin_beside(task, reply):
            self._inbox.put(partial(self._tasks.add, task, reply))

    def stop(self) -> None:
        """End the loop before the next step; the jobs tell nothing more."""
        self._inbox.put(self._stop)

    def run(self) -> None:
        """Work until `stop`.

        Raises:
            DeviceLost: only a new process can go on.
        """
        try:
            while not self._stopping:
                self._wait()
                self._serve()
                if self._do_chores():
                    self._serve()
                self._give_turn()
        finally:
            self._loads.close()
            self._errands.close()
            self._encoders.shutdown(wait=False, cancel_futures=True)

    # Messages

    def _wait(self) -> None:
        """Wait for a message when there is nothing to do."""
        if not self._running and not self._ending and not self._tasks and not self._room.changed:
            self._stepper.settle()
            self._inbox.get()()

    def _serve(self) -> None:
        """Handle the messages that have arrived by now, and do the tasks."""
        for _ in range(self._inbox.qsize()):
            self._inbox.get()()
        self._tasks.work()

    def _look_for_room(self) -> None:
        self._room.changed = True

    def _take(self, job: MaximizationJob) -> None:
        discard = partial(self._inbox.put, partial(self._discard, job.job_id))
        outlet = Outlet(job.job_id, self._encoders, self._tell, on_failure=discard, on_loss=self._lose)
        self._room.add(WaitingJob(job, outlet, now=self._clock()))

    def _cancel(self, job_id: str) -> None:
        if waiting := self._room.pop(job_id):
            if waiting.job.checkpoint is None:
                waiting.finish_unseen()
            else:  # it has pictures: those of its checkpoint
                self._loads.when_loaded(waiting.job.source, partial(self._show_checkpoint, waiting))
        elif running := self._running.get(job_id):
            self._finish(running, "cancelled")

    def _show_checkpoint(self, waiting: WaitingJob, error: Exception | None) -> None:
        waiting.refusal = error
        self._start(waiting, None)
        if running := self._running.get(waiting.job.job_id):
            self._finish(running, "cancelled")

    def _discard(self, job_id: str) -> None:
        if job := self._running.get(job_id):
            self._remove(job)

    def _lose(self, error: DeviceLost) -> None:
        def end() -> None:
            raise error

        self._inbox.put(end)

    def _stop(self) -> None:
        self._stopping = True

    # Starting and ending

    def _do_chores(self) -> bool:
        """End jobs and start others; while some run, only for so long. Return whether there were any."""
        if not self._ending and not self._room.changed:
            return False
        until = self._clock() + CHORES_SECONDS

        def patience() -> bool:
            return not self._running or self._clock() < until

        self._end_jobs(patience)
        self._room.start(self._start, patience=patience)
        return True

    def _end_jobs(self, patience: Callable[[], bool]) -> None:
        """Tell the results of jobs that have ended, one at least."""
        while self._ending:
            self._finish(*self._ending.popleft())
            if not patience():
                return

    def _start(self, waiting: WaitingJob, footprint: Footprint | None) -> None:
        job = waiting.job
        waiting.tell_position(0)
        try:
            if waiting.refusal is not None:
                raise waiting.refusal
            saved = SavedJob.of(job)
            lanes = self._maximizer.begin(job, saved.lanes)
        except Exception as error:
            waiting.outlet.put(JobFailed(job.job_id, told(error, doing="starting a maximization")))
            return
        running = RunningJob(
            job,
            saved,
            lanes,
            waiting.outlet,
            kind=waiting.kind,
            footprint=footprint or self._book.guess(job),
            trial_steps=0 if footprint else TRIAL_STEPS,
            surroundings=self._surroundings,
        )
        self._running[job.job_id] = running
        self._book.add(running)
        self._room.started(running.owner, running.lanes)

    def _finish(self, job: RunningJob[LanesKind], reason: StopReason) -> None:
        try:
            job.finish(reason)
        except Exception as error:
            self._fail(job, error)
        else:
            self._remove(job)

    def _fail(self, job: RunningJob[LanesKind], error: Exception) -> None:
        job.outlet.put(JobFailed(job.job.job_id, told(error, doing="maximizing an activation")))
        self._remove(job)

    def _remove(self, job: RunningJob[LanesKind]) -> None:
        self._running.pop(job.job.job_id, None)
        job.work.release()
        self._book.remove(job)
        self._room.ended(job.owner, job.lanes)
        self._stepper.left(self._running.values())

    # Stepping

    def _give_turn(self) -> None:
        if not self._running or self._stopping:
            return
        outcome = self._stepper.turn(list(self._running.values()))
        if outcome.guilty is not None and outcome.error is not None:
            self._fail(outcome.guilty, outcome.error)
        now = self._clock()
        for job in outcome.stepped:
            if job is not outcome.guilty:
                self._report(job, now)

    def _learn(self, kind: Hashable, footprint: Footprint) -> None:
        """Note what a lane of a kind of jobs takes, of those that run as well."""
        logger.info("A lane of a new kind takes %s.", footprint)
        self._book.learn(kind, footprint)
        for job in self._running.values():
            if job.kind == kind:
                self._book.remove(job)
                job.footprint, job.trial_steps = footprint, 0
                self._book.add(job)
        self._room.changed = True

    def _report(self, job: RunningJob[LanesKind], now: float) -> None:
        try:
            reason = job.work.stop_reason()
            job.report(last=reason is not None, now=now)
        except Exception as error:
            self._fail(job, error)
            return
        if reason is not None:
            del self._running[job.job.job_id]
            self._ending.append((job, reason))

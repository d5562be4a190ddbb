"""The loop that steps maximizations and does short tasks between two steps."""

import logging
import queue
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic

from phosphene_server.engine.failures import told
from phosphene_server.engine.job import RunningJob, SavedJob, WaitingJob
from phosphene_server.engine.lanes import Encode, LanesKind, Maximizer
from phosphene_server.engine.outlet import Outlet, Tell
from phosphene_server.engine.schedule import FairTurns
from phosphene_server.errors import PhospheneError
from phosphene_server.settings import Settings
from phosphene_server.values.maximization import StopReason
from phosphene_server.values.work import JobFailed, MaximizationJob, Task, TaskReply

logger = logging.getLogger(__name__)

ENCODING_THREADS = 2
"""Threads that compress pictures; Pillow releases the interpreter lock while it does."""

Reply = Callable[[TaskReply | PhospheneError], None]
"""Hears the reply to a task, or what the task raised."""


class Engine(Generic[LanesKind]):
    """Owns the jobs of one device. `run` is the loop; all other public methods may be called on any thread.

    A job that fails takes no other with it: when a batch fails, its jobs are stepped apart from then on, so that the
    guilty one fails alone, and together again once one of them has left. Only `DeviceLost` ends the loop.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        maximizer: Maximizer[LanesKind],
        run_task: Callable[[Task], TaskReply],
        encode: Encode,
        tell: Tell,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what the engine works with.

        Args:
            settings: Limits and intervals.
            maximizer: Makes and steps the pictures of jobs.
            run_task: Does a short task; runs between two steps.
            encode: Compresses pictures.
            tell: Hears the events of all jobs, those of one job in order, on several threads.
            clock: Seconds, monotonic.
        """
        self._settings = settings
        self._maximizer = maximizer
        self._run_task = run_task
        self._encode = encode
        self._tell = tell
        self._clock = clock
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._encoders = ThreadPoolExecutor(ENCODING_THREADS, thread_name_prefix="encode")
        self._turns = FairTurns()
        self._waiting: dict[str, WaitingJob] = {}
        self._running: dict[str, RunningJob[LanesKind]] = {}
        self._stopping = False

    def submit(self, job: MaximizationJob) -> None:
        """Take a job; it is started when fewer than `maximum_running_jobs` run."""
        self._inbox.put(partial(self._take, job))

    def cancel(self, job_id: str) -> None:
        """End a job before its next step; it tells what it has. Unknown jobs are ignored."""
        self._inbox.put(partial(self._cancel, job_id))

    def do(self, task: Task, reply: Reply) -> None:
        """Do a task between two steps, after the tasks that came before it."""
        self._inbox.put(partial(self._answer, task, reply))

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
                self._take_messages()
                self._start_jobs()
                self._give_turn()
        finally:
            self._encoders.shutdown(wait=False, cancel_futures=True)

    # Messages

    def _take_messages(self) -> None:
        """Handle what has arrived by now; what arrives meanwhile waits for one step, so that jobs cannot starve."""
        idle = not self._running and not self._waiting
        for _ in range(max(self._inbox.qsize(), 1 if idle else 0)):
            self._inbox.get()()

    def _take(self, job: MaximizationJob) -> None:
        discard = partial(self._inbox.put, partial(self._discard, job.job_id))
        outlet = Outlet(job.job_id, self._encoders, self._tell, on_failure=discard)
        self._waiting[job.job_id] = WaitingJob(job, outlet)

    def _cancel(self, job_id: str) -> None:
        if waiting := self._waiting.pop(job_id, None):
            if waiting.job.checkpoint is None:
                waiting.finish_unseen()
                return
            self._start(waiting)  # it has pictures: those of its checkpoint
        if running := self._running.get(job_id):
            self._finish(running, "cancelled")

    def _answer(self, task: Task, reply: Reply) -> None:
        try:
            answer: TaskReply | PhospheneError = self._run_task(task)
        except Exception as error:
            answer = told(error, doing=f"doing the task {type(task).__name__}")
        reply(answer)

    def _discard(self, job_id: str) -> None:
        if job := self._running.get(job_id):
            self._remove(job)

    def _stop(self) -> None:
        self._stopping = True

    # Starting

    def _start_jobs(self) -> None:
        while self._waiting and len(self._running) < self._settings.maximum_running_jobs:
            self._start(self._waiting.pop(next(iter(self._waiting))))
        for position, waiting in enumerate(self._waiting.values(), start=1):
            waiting.tell_position(position)

    def _start(self, waiting: WaitingJob) -> None:
        """Set up the pictures of a job, which may take the time of loading its model."""
        job = waiting.job
        waiting.tell_position(0)
        try:
            saved = SavedJob.of(job)
            lanes = self._maximizer.begin(job, saved.lanes)
        except Exception as error:
            waiting.outlet.put(JobFailed(job.job_id, told(error, doing="starting a maximization")))
            return
        self._running[job.job_id] = RunningJob(
            job, saved, lanes, waiting.outlet, encode=self._encode, settings=self._settings, clock=self._clock
        )

    # Stepping

    def _give_turn(self) -> None:
        groups: dict[Hashable, list[RunningJob[LanesKind]]] = {}
        for job in self._running.values():
            key = (job.lanes.group_key, job.job.job_id if job.alone else None)
            groups.setdefault(key, []).append(job)
        if not groups or self._stopping:
            return
        chosen = self._turns.next(groups)
        began = self._clock()
        self._step(groups[chosen])
        self._turns.charge(chosen, seconds=self._clock() - began)

    def _step(self, jobs: Sequence[RunningJob[LanesKind]]) -> None:
        before = [job.lanes.step for job in jobs]
        try:
            self._maximizer.step([job.lanes for job in jobs])
        except Exception as error:
            self._settle_failure(jobs, error)
        for job, step in zip(jobs, before, strict=True):
            if job.lanes.step != step and job.job.job_id in self._running:
                self._report(job)

    def _settle_failure(self, jobs: Sequence[RunningJob[LanesKind]], error: Exception) -> None:
        """Fail a job that was stepped alone; step those of a batch apart from now on, to find the guilty one."""
        if len(jobs) == 1:
            self._fail(jobs[0], error)
            return
        reason = told(error, doing="stepping several maximizations in one batch")
        logger.warning("A batch of %d jobs failed (%s); they are stepped one by one.", len(jobs), reason)
        for job in jobs:
            job.alone = True

    def _report(self, job: RunningJob[LanesKind]) -> None:
        try:
            reason = job.lanes.stop_reason()
            job.report(last=reason is not None)
        except Exception as error:
            self._fail(job, error)
            return
        if reason is not None:
            self._finish(job, reason)

    # Ending

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
        del self._running[job.job.job_id]
        job.lanes.release()
        for other in self._running.values():
            other.alone = False

"""A worker that comes back: restarts a lost one and resumes its jobs from their last checkpoints."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from phosphene_server.errors import WorkerLost
from phosphene_server.settings import Settings
from phosphene_server.values.work import (
    JobCheckpointed,
    JobEvent,
    JobFailed,
    JobFinished,
    MaximizationJob,
    Task,
    TaskReply,
)
from phosphene_server.workers.protocol import EventListener, ExitListener, Worker
from phosphene_server.workers.suspicion import SupervisedJob, blame, placeable

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
"""A worker is restarted at once; if it is lost again without having got anything done, after pauses that double."""

TASK_ATTEMPTS = 2
"""How often a task is tried when its worker is lost."""


class WorkerFactory(Protocol):
    """Makes workers that are not started yet, all alike."""

    def __call__(self, listener: EventListener, *, on_exit: ExitListener) -> Worker:
        """Make a worker that tells the events of its jobs and how it ended."""


class SupervisedWorker:
    """Implements `Worker` with one worker after another.

    When a worker is lost, its jobs go on in the next one: each is told a warning `WORKER_RESTARTED`, and no step twice.
    `suspicion.py` says which job fails when that happens again and again. Tasks are tried once more. When workers
    cannot even be started, all work fails with `WorkerLost` until one can. Checkpoints are kept here, not told.
    """

    def __init__(
        self,
        make_worker: WorkerFactory,
        settings: Settings,
        listener: EventListener,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take what makes workers, for example `partial(LocalWorker, settings)`; `sleep` waits for seconds."""
        self._make_worker = make_worker
        self._settings = settings
        self._listener = listener
        self._sleep = sleep
        self._jobs: dict[str, SupervisedJob] = {}
        self._worker: Worker | None = None
        self._tasks = 0
        self._changed = asyncio.Event()
        """Set when a waiting task should look again."""
        self._down: WorkerLost | None = None
        """Why nobody can work now and nobody should wait; None while a worker is there or expected soon."""
        self._idle_losses = 0
        """Losses since something was last got done."""
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the first worker.

        Raises:
            WorkerLost: it could not be started.
        """
        lost = await self._start_worker()
        self._keeper = asyncio.create_task(self._keep(lost))

    async def run(self, task: Task) -> TaskReply:
        """Do a task; it waits for a worker, and is tried again once if the worker is lost.

        Raises:
            PhospheneError: what the task raised.
            WorkerLost: both workers were lost, or none can be started.
        """
        for _ in range(TASK_ATTEMPTS):
            worker = await self._free_worker()
            self._tasks += 1
            try:
                reply = await worker.run(task)
            except WorkerLost as error:
                lost = error
            else:
                self._idle_losses = 0
                return reply
            finally:
                self._tasks -= 1
        raise lost

    def submit(self, job: MaximizationJob) -> None:
        """Take a job."""
        supervised = self._jobs[job.job_id] = SupervisedJob(job)
        if self._down is not None:
            # Not before this method returns: the caller may not expect it yet.
            asyncio.get_running_loop().call_soon(self._fail, supervised, self._down.detail)
        self._place_jobs()

    def cancel(self, job_id: str) -> None:
        """End a job before its next step; if its worker was lost, as soon as there is the next one."""
        job = self._jobs.get(job_id)
        if job is None:
            return
        job.cancelled = True
        if job.placed and self._worker is not None:
            self._worker.cancel(job_id)
        self._place_jobs()

    async def stop(self) -> None:
        """End the worker for good."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._down = WorkerLost("the service is stopping")
        self._jobs.clear()
        self._changed.set()
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.stop()

    # Workers

    async def _keep(self, lost: asyncio.Future[str]) -> None:
        while True:
            logger.error("The worker was lost: %s.", await lost)
            lost = await self._restart()
            logger.info("The worker is restarted; %d jobs are resumed.", len(self._jobs))

    async def _restart(self) -> asyncio.Future[str]:
        attempts = 0
        while True:
            await self._sleep(_pause(self._idle_losses))
            self._idle_losses += 1
            try:
                return await self._start_worker()
            except WorkerLost as error:
                attempts += 1
                logger.error("The worker could not be restarted: %s.", error)
                if attempts > self._settings.worker_restarts:
                    self._give_up(error)

    async def _start_worker(self) -> asyncio.Future[str]:
        """Start a worker and give it the jobs. Returns what will tell how it ended."""
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def exited(detail: str) -> None:
            lost.set_result(detail)
            if self._worker is worker:
                self._lose_worker(detail)

        def hear(event: JobEvent) -> None:
            if self._worker is worker:
                self._hear(event)

        worker = self._make_worker(hear, on_exit=exited)
        await worker.start()
        if not lost.done():
            self._worker = worker
            self._down = None
            self._place_jobs()
            self._changed.set()
        return lost

    def _lose_worker(self, detail: str) -> None:
        self._worker = None
        restarts = self._settings.worker_restarts
        guilty = blame(self._jobs.values(), tasks=self._tasks, worker_restarts=restarts)
        for job in guilty:
            self._fail(job, f"{detail}, {job.losses} times while it ran this job")
        for job in self._jobs.values():
            job.lose(detail)

    def _give_up(self, error: WorkerLost) -> None:
        """Fail all that waits; the attempts go on."""
        self._down = WorkerLost(error.detail, retry_after_seconds=LONGEST_PAUSE_SECONDS)
        self._changed.set()
        for job in list(self._jobs.values()):
            self._fail(job, error.detail)

    async def _free_worker(self) -> Worker:
        """Wait for a worker that takes tasks: none does during a trial.

        Raises:
            WorkerLost: nobody can work now.
        """
        while self._worker is None or any(job.suspect for job in self._jobs.values()):
            if self._down is not None:
                raise WorkerLost(self._down.detail, self._down.retry_after_seconds)
            self._changed.clear()
            await self._changed.wait()
        return self._worker

    # Jobs

    def _place_jobs(self) -> None:
        if self._worker is None:
            return
        for job in placeable(self._jobs.values()):
            job.placed = True
            if job.resumes:
                self._listener(job.resume_warning())
                job.resumes = ""
            self._worker.submit(job.job)
            if job.cancelled:
                self._worker.cancel(job.job.job_id)

    def _hear(self, event: JobEvent) -> None:
        job = self._jobs.get(event.job_id)
        if job is None:
            return
        if isinstance(event, JobCheckpointed):
            self._idle_losses = 0
            if job.save(event.checkpoint):
                self._end_trial()
        elif isinstance(event, JobFinished | JobFailed):
            self._idle_losses = 0
            del self._jobs[event.job_id]
            self._listener(event)
            self._end_trial()
        elif job.passes(event):
            self._listener(event)

    def _end_trial(self) -> None:
        self._place_jobs()
        self._changed.set()

    def _fail(self, job: SupervisedJob, detail: str) -> None:
        if self._jobs.pop(job.job.job_id, None) is not None:
            self._listener(JobFailed(job.job.job_id, WorkerLost(detail)))


def _pause(idle_losses: int) -> float:
    """Return how long to wait before a restart, in seconds."""
    return 0.0 if idle_losses == 0 else min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (idle_losses - 1))

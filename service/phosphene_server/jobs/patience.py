"""A worker whose callers wait until it has started."""

import asyncio
from collections.abc import Callable

from phosphene_server.values.work import MaximizationJob, Task, TaskReply
from phosphene_server.workers.protocol import Worker


class PatientWorker:
    """A worker that starts in the background, so that the front can listen at once.

    `run` waits for the start and raises its WorkerLost if it failed. Jobs are only submitted after a task has
    prepared them, so they need not wait.
    """

    def __init__(self, worker: Worker) -> None:
        """Take a worker that was not started yet."""
        self._worker = worker
        self._starting: asyncio.Task[None] | None = None

    def begin(self, when_started: Callable[[asyncio.Task[None]], None]) -> None:
        """Start the worker in the background; `when_started` hears of the end of that, good or bad."""
        self._starting = asyncio.create_task(self._worker.start())
        self._starting.add_done_callback(when_started)

    async def start(self) -> None:
        """Wait until the worker is ready."""
        assert self._starting is not None, "begin() comes first"
        await asyncio.shield(self._starting)

    async def run(self, task: Task) -> TaskReply:
        """Do a task, once the worker is ready."""
        await self.start()
        return await self._worker.run(task)

    def submit(self, job: MaximizationJob) -> None:
        """Take a job."""
        self._worker.submit(job)

    def cancel(self, job_id: str) -> None:
        """End a job before its next step."""
        self._worker.cancel(job_id)

    async def stop(self) -> None:
        """End the worker, also one that still starts."""
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self._worker.stop()

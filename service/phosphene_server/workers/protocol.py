"""What the front may ask of a worker, wherever it runs."""

from collections.abc import Callable
from typing import Protocol

from phosphene_server.values.work import JobEvent, MaximizationJob, Task, TaskReply

EventListener = Callable[[JobEvent], None]
"""Hears the events of all jobs of a worker, in order, in the event loop of the front; it must not block."""

ExitListener = Callable[[str], None]
"""Hears why a worker that was ready has ended by itself, in the event loop of the front."""


class Worker(Protocol):
    """Owns one device, the models loaded on it and the loop that steps its jobs.

    Tasks are answered in the order in which they came, between two steps of the jobs. The events of a job are told to
    the listener that the worker was made with; the last one is `JobFinished` or `JobFailed`, and comes exactly once.
    All methods are called from the event loop of the front and return without waiting for a device, except `run`.
    """

    async def start(self) -> None:
        """Become ready for work.

        Raises:
            WorkerLost: it could not be started.
        """

    async def run(self, task: Task) -> TaskReply:
        """Do a task and return its reply.

        Raises:
            PhospheneError: what the task raised.
            WorkerLost: the worker ended meanwhile.
        """

    def submit(self, job: MaximizationJob) -> None:
        """Take a job. What is wrong with it is told by `JobFailed`."""

    def cancel(self, job_id: str) -> None:
        """End a job before its next step; it still tells `JobFinished`. An unknown job is ignored."""

    async def stop(self) -> None:
        """End the worker; jobs that still run tell nothing more."""

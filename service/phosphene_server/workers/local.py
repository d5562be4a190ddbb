"""A worker as a process on this machine."""

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import TypeVar

from phosphene_server.errors import PhospheneError, WorkerLost
from phosphene_server.settings import Settings
from phosphene_server.values.work import MaximizationJob, Task, TaskReply
from phosphene_server.workers.line import EXIT_SECONDS, Line
from phosphene_server.workers.messages import (
    CancelJob,
    Command,
    Ready,
    Report,
    RunTask,
    StartFailed,
    SubmitJob,
    TaskAnswered,
)
from phosphene_server.workers.process import describe_exit, start_process
from phosphene_server.workers.protocol import EventListener, ExitListener

Said = TypeVar("Said")


class LocalWorker:
    """Implements `Worker` with a process that `start` starts.

    Checkpoints are told to the listener like all other events.
    """

    def __init__(self, settings: Settings, listener: EventListener, *, on_exit: ExitListener) -> None:
        """Prepare a worker.

        Args:
            settings: Sent to the process.
            listener: Hears the events of its jobs.
            on_exit: Hears why the process ended, unless it was stopped or never became ready.
        """
        self._settings = settings
        self._listener = listener
        self._on_exit = on_exit
        self._numbers = itertools.count()
        self._replies: dict[int, asyncio.Future[TaskReply]] = {}
        self._line: Line | None = None
        self._lost = ""
        """How the process ended; empty while it has not."""
        self._was_ready = False
        self._stopping = False

    async def start(self) -> None:
        """Start the process and wait until it is ready.

        Raises:
            WorkerLost: it cannot be started, ended early, or was not ready within `worker_start_seconds`.
        """
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._gone = asyncio.Event()
        try:
            process, end = start_process()
        except OSError as error:
            raise WorkerLost(f"it could not be started: {error}") from error
        self._line = Line(process, end, hear=self._in_loop(self._hear), ended=self._in_loop(self._end))
        self._line.send(self._settings)
        try:
            await asyncio.wait_for(self._ready, self._settings.worker_start_seconds)
        except BaseException as error:
            await self._end_at_once()
            if isinstance(error, TimeoutError):
                raise WorkerLost(f"it was not ready in {self._settings.worker_start_seconds:g} s") from error
            raise

    async def run(self, task: Task) -> TaskReply:
        """Do a task and return its reply.

        Raises:
            PhospheneError: what the task raised.
            WorkerLost: the process ended meanwhile.
        """
        if self._line is None or self._lost:
            raise WorkerLost(self._lost or "it is not started")
        number = next(self._numbers)
        reply = self._replies[number] = self._loop.create_future()
        self._line.send(RunTask(number, task))
        try:
            answer: TaskReply = await reply
        finally:
            del self._replies[number]
        return answer

    def submit(self, job: MaximizationJob) -> None:
        """Take a job."""
        self._send(SubmitJob(job))

    def cancel(self, job_id: str) -> None:
        """End a job before its next step."""
        self._send(CancelJob(job_id))

    async def stop(self) -> None:
        """End the process; it may finish the step that it is at, for a few seconds."""
        self._stopping = True
        if self._line is None:
            return
        self._line.hang_up()
        try:
            await asyncio.wait_for(self._gone.wait(), EXIT_SECONDS)
        except TimeoutError:
            await self._end_at_once()

    async def _end_at_once(self) -> None:
        self._stopping = True
        if self._line is not None:
            self._line.kill()
            await self._gone.wait()

    def _send(self, command: Command) -> None:
        """Send a command; of a job that does not arrive any more, `on_exit` tells."""
        if self._line is not None:
            self._line.send(command)

    def _in_loop(self, hear: Callable[[Said], None]) -> Callable[[Said], None]:
        """Return a function for other threads that lets the event loop call `hear`."""

        def call(said: Said) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                self._loop.call_soon_threadsafe(hear, said)

        return call

    # In the event loop

    def _hear(self, report: Report) -> None:
        match report:
            case Ready():
                self._was_ready = True
                _settle(self._ready, None)
            case StartFailed(error):
                _settle(self._ready, WorkerLost(f"it cannot work: {error}"))
            case TaskAnswered(number, answer):
                _settle(self._replies.get(number), answer)
            case _ if not self._stopping:
                self._listener(report)

    def _end(self, code: int) -> None:
        self._gone.set()
        self._lost = describe_exit(code)
        if not self._ready.done():
            self._ready.set_exception(WorkerLost(f"{self._lost} before it was ready"))
        elif self._was_ready and not self._stopping:
            self._on_exit(self._lost)
        for reply in self._replies.values():
            _settle(reply, WorkerLost(self._lost))


def _settle(future: asyncio.Future[Said] | None, outcome: Said | PhospheneError) -> None:
    """Give a future its outcome, if somebody still waits for it."""
    if future is None or future.done():
        return
    if isinstance(outcome, PhospheneError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)

"""The events of one job, told in order, while its pictures are compressed on other threads.

Compressing a picture takes milliseconds, and the step loop should not wait for it; yet `frame` must not come after the
`progress` of a later step, nor after the `result`. So each job has an outlet: a line of events, some of which are still
to be made. One thread of the pool at a time works through a line; different jobs compress at the same time.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

from phosphene_server.engine.failures import DeviceLost, told
from phosphene_server.values.work import JobEvent, JobFailed, JobFinished

Tell = Callable[[JobEvent], None]
"""Hears events, on any thread."""


class Outlet:
    """Tells the events of one job in the order in which they are put; nothing after the last one."""

    def __init__(
        self,
        job_id: str,
        executor: Executor,
        tell: Tell,
        *,
        on_failure: Callable[[], None],
        on_loss: Callable[[DeviceLost], None],
    ) -> None:
        """Take where the events of a job go.

        Args:
            job_id: The job.
            executor: The threads on which events are made.
            tell: Hears the events.
            on_failure: Called on some thread when an event could not be made and the job has failed.
            on_loss: Called on some thread when that was because the device is lost.
        """
        self._job_id = job_id
        self._executor = executor
        self._tell = tell
        self._on_failure = on_failure
        self._on_loss = on_loss
        self._lock = threading.Lock()
        self._line: deque[Callable[[], JobEvent]] = deque()
        self._working = False
        self._ended = False

    @property
    def waiting(self) -> int:
        """The number of events that are not told yet."""
        return len(self._line) + self._working

    def put(self, event: JobEvent) -> None:
        """Tell an event after those before it; at once, on this thread, when there are none."""
        with self._lock:
            if self._working:
                self._line.append(lambda: event)
                return
        self._tell_one(event)

    def put_made(self, make: Callable[[], JobEvent]) -> None:
        """Make an event on a thread of the pool, and tell it after those before it."""
        with self._lock:
            self._line.append(make)
            if self._working:
                return
            self._working = True
        self._executor.submit(self._work)

    def _work(self) -> None:
        while make := self._next():
            try:
                event = make()
            except DeviceLost as error:
                self._on_loss(error)
            except Exception as error:
                self._fail(error)
            else:
                self._tell_one(event)

    def _next(self) -> Callable[[], JobEvent] | None:
        with self._lock:
            if self._line:
                return self._line.popleft()
            self._working = False
            return None

    def _tell_one(self, event: JobEvent) -> None:
        if self._ended:
            return
        self._ended = isinstance(event, JobFinished | JobFailed)
        self._tell(event)

    def _fail(self, error: Exception) -> None:
        if self._ended:
            return
        self._tell_one(JobFailed(self._job_id, told(error, doing="compressing a picture")))
        with self._lock:
            self._line.clear()
        self._on_failure()

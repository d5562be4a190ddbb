"""One watcher of a maximization.

The job must never wait for a watcher, and a watcher must never make the service keep many frames. So a new frame takes
the place of one that the watcher has not fetched yet, and progress likewise; `accepted`, warnings and the result are
small or final and are always kept. What waits for a slow watcher is therefore one frame, one progress and the rest.

A watcher that asked for old frames first reads them from the history that all watchers share, in their place among the
other events, and changes over to the live ones when it has caught up.
"""

import asyncio
import copy
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from phosphene_server.errors import PhospheneError
from phosphene_server.jobs.history import FrameHistory
from phosphene_server.values.maximization import (
    MaximizationAccepted,
    MaximizationEvent,
    MaximizationFrame,
    MaximizationProgress,
)


class Watch:
    """An asynchronous iterator over the events of a job; leaving its `with` block tells the job that nobody reads."""

    def __init__(self, leave: Callable[["Watch"], None]) -> None:
        """Take what is called once when the watcher leaves."""
        self._leave: Callable[[Watch], None] | None = leave
        self._waiting: list[MaximizationEvent] = []
        self._history: FrameHistory | None = None
        self._place = 0
        self._dropped = 0
        """The frames that this watcher has lost so far because it was slow."""
        self._ended = False
        self._error: PhospheneError | None = None
        self._changed = asyncio.Event()

    def replay(self, history: FrameHistory, *, from_step: int) -> None:
        """Read the frames of this step and later from the history first."""
        self._history = history
        self._place = history.number_at(from_step)

    def push(self, event: MaximizationEvent) -> None:
        """Take an event; a frame or progress takes the place of its like."""
        if isinstance(event, MaximizationFrame):
            self._push_frame(event)
        elif isinstance(event, MaximizationProgress):
            self._remove(MaximizationProgress)
            self._waiting.append(event)
        else:
            self._waiting.append(event)
        self._changed.set()

    def end(self, error: PhospheneError | None = None) -> None:
        """Take that nothing more happens; an error is raised to the watcher after all that waits."""
        self._ended = True
        self._error = error
        self._changed.set()

    def close(self) -> None:
        """Leave the job. Doing so again does nothing."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MaximizationEvent:
        while (event := self._next()) is None:
            if self._error is not None:
                raise copy.copy(self._error)  # each watcher gets its own, as a traceback is written into it
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return replace(event, dropped=self._dropped) if isinstance(event, MaximizationFrame) else event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _push_frame(self, frame: MaximizationFrame) -> None:
        if self._history is not None:
            return  # it is in the history, and will be read there
        self._dropped += self._remove(MaximizationFrame)
        self._waiting.append(frame)

    def _remove(self, kind: type[MaximizationEvent]) -> int:
        """Remove what waits of a kind and return how many that were."""
        before = len(self._waiting)
        self._waiting = [event for event in self._waiting if not isinstance(event, kind)]
        return before - len(self._waiting)

    def _next(self) -> MaximizationEvent | None:
        frame = self._old_frame()
        if frame is not None and not (self._waiting and _comes_before(self._waiting[0], frame)):
            self._place += 1
            return frame
        return self._waiting.pop(0) if self._waiting else None

    def _old_frame(self) -> MaximizationFrame | None:
        """Return the next frame of the history, or change over to the live ones."""
        if self._history is None:
            return None
        self._dropped += max(0, self._history.first - self._place)
        self._place = max(self._place, self._history.first)
        frame = self._history.get(self._place)
        if frame is None:
            self._history = None
        return frame


def _comes_before(event: MaximizationEvent, frame: MaximizationFrame) -> bool:
    return isinstance(event, MaximizationAccepted) or event.step < frame.step

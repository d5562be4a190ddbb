"""One watcher of a maximization.

The job must never wait for a watcher, and a watcher must never make the service keep many frames. So a new frame takes
the place of one that the watcher has not fetched yet, and progress likewise; `accepted`, warnings and the result are
small or final and are always kept. What waits for a slow watcher is therefore one frame, one progress and the rest.

A watcher that asked for old frames first reads them from the history that all watchers share, in their place among the
other events, and changes over to the live ones when it has caught up.
"""

from collections.abc import Callable
from dataclasses import replace

from phosphene_server.jobs.history import FrameHistory
from phosphene_server.jobs.watcher import Watcher
from phosphene_server.values.maximization import (
    MaximizationAccepted,
    MaximizationEvent,
    MaximizationFrame,
    MaximizationProgress,
)


class Watch(Watcher[MaximizationEvent]):
    """An asynchronous iterator over the events of a job; leaving its `with` block tells the job that nobody reads."""

    def __init__(self, leave: Callable[[Watcher[MaximizationEvent]], None]) -> None:
        """Take what is called once when the watcher leaves."""
        super().__init__(leave)
        self._waiting: list[MaximizationEvent] = []
        self._history: FrameHistory | None = None
        self._place = 0
        self._dropped = 0
        """The frames that this watcher has lost so far because it was slow."""

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
        event = self._next_of_both()
        return replace(event, dropped=self._dropped) if isinstance(event, MaximizationFrame) else event

    def _next_of_both(self) -> MaximizationEvent | None:
        """Return what comes next of the history and of what waits."""
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

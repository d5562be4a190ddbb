"""Everybody who watches a job, and when it ends for want of them."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from phosphene_server.errors import PhospheneError
from phosphene_server.jobs.watcher import Watcher

Event = TypeVar("Event")


class Audience(Generic[Event]):
    """The watchers of a running job. When the last one has left and none has come within `linger` seconds, it ends."""

    def __init__(self, *, linger: float, cancel: Callable[[], None]) -> None:
        """Take how long the job goes on unwatched, in seconds, and what ends it."""
        self._linger = linger
        self._cancel = cancel
        self._watchers: set[Watcher[Event]] = set()
        self._farewell: asyncio.TimerHandle | None = None
        self._ended = False

    def join(self, watcher: Watcher[Event]) -> None:
        """Take a watcher."""
        self._stop_farewell()
        self._watchers.add(watcher)

    def leave(self, watcher: Watcher[Event]) -> None:
        """Let a watcher go; the last one leaves the job to itself."""
        self._watchers.discard(watcher)
        if self._watchers or self._ended:
            return
        self._stop_farewell()
        if self._linger > 0:
            self._farewell = asyncio.get_running_loop().call_later(self._linger, self._cancel)
        else:
            self._cancel()

    def tell(self, event: Event) -> None:
        """Tell everybody an event."""
        for watcher in self._watchers:
            watcher.push(event)

    def end(self, error: PhospheneError | None = None) -> None:
        """Tell everybody that nothing more happens, and why."""
        self._ended = True
        self._stop_farewell()
        for watcher in self._watchers:
            watcher.end(error)
        self._watchers.clear()

    def forget(self) -> None:
        """Let go of the timer, for a job that is kept no longer."""
        self._stop_farewell()

    def _stop_farewell(self) -> None:
        if self._farewell is not None:
            self._farewell.cancel()
            self._farewell = None

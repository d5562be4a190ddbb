"""What every watcher of a job is: an asynchronous iterator over its events that the job never waits for."""

import asyncio
import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from phosphene_server.errors import PhospheneError

Event = TypeVar("Event")


class Watcher(ABC, Generic[Event]):
    """Iterates over the events of a job; leaving its `with` block tells the job that nobody reads.

    A kind of watcher says in `push` what it keeps for a reader that is slow, and in `_next` what comes next.
    """

    def __init__(self, leave: Callable[["Watcher[Event]"], None]) -> None:
        """Take what is called once when the watcher leaves."""
        self._leave: Callable[[Watcher[Event]], None] | None = leave
        self._ended = False
        self._error: PhospheneError | None = None
        self._changed = asyncio.Event()

    @abstractmethod
    def push(self, event: Event) -> None:
        """Take an event."""

    @abstractmethod
    def _next(self) -> Event | None:
        """Return what comes next, and forget it; None while nothing waits."""

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

    async def __anext__(self) -> Event:
        while (event := self._next()) is None:
            if self._error is not None:
                raise copy.copy(self._error)  # each watcher gets its own, as a traceback is written into it
            if self._ended:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

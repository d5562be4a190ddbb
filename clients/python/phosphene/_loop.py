"""An event loop in a background thread, for the blocking client."""

import asyncio
import threading
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class BackgroundLoop:
    """Runs coroutines for callers that have no event loop, or whose own is busy."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_report)
        # A daemon: a program that forgets to close its client must be able to end.
        self._thread = threading.Thread(target=self._loop.run_forever, name="phosphene-client", daemon=True)
        self._thread.start()

    def run(self, answer: Awaitable[Answer]) -> Answer:
        """Wait for a coroutine; interrupting the wait cancels it."""
        future: Future[Answer] = asyncio.run_coroutine_threadsafe(_awaited(answer), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def is_here(self) -> bool:
        """Whether the caller is in the loop's own thread, where waiting for a coroutine would never end."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """End the loop and its thread; stopping twice does nothing."""
        if self._thread.is_alive():
            self.run(_end_other_tasks())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()


async def _awaited(answer: Awaitable[Answer]) -> Answer:
    return await answer


async def _end_other_tasks() -> None:
    """Let the tasks that gRPC has left behind end; a loop that is closed before would complain about each."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what went wrong in the loop, except what is no fault.

    All event loops of a process that use gRPC are woken together, and those that find nothing to read raise this.
    """
    if not isinstance(context.get("exception"), BlockingIOError):
        loop.default_exception_handler(context)

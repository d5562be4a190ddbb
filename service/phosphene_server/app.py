"""The composition root: settings -> running server. The only file that sees every folder."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from phosphene_server.jobs.board import MaximizationBoard
from phosphene_server.jobs.front_desk import FrontDesk
from phosphene_server.jobs.loaded import LoadedModels
from phosphene_server.jobs.patience import PatientWorker
from phosphene_server.models.repository import Repository
from phosphene_server.rpc.server import CannotListen, Service
from phosphene_server.settings import Settings
from phosphene_server.values.work import JobEvent
from phosphene_server.workers.local import LocalWorker
from phosphene_server.workers.protocol import EventListener, Worker
from phosphene_server.workers.supervisor import SupervisedWorker

logger = logging.getLogger(__name__)

WorkerFactory = Callable[[Settings, EventListener], Worker]

READY = "phosphene is listening on"
"""How the line begins that says on standard output that the service can be called."""


class CannotServe(Exception):
    """The service cannot start or go on; the message says why, for the operator."""


def local_worker(settings: Settings, listener: EventListener) -> Worker:
    """Return a worker that is a process on this machine and comes back when it is lost."""
    return SupervisedWorker(partial(LocalWorker, settings), settings, listener)


class Application:
    """The parts of the service, put together."""

    def __init__(self, settings: Settings, *, make_worker: WorkerFactory = local_worker) -> None:
        """Put the parts together; nothing runs yet. Call this in the event loop that serves."""
        self._settings = settings
        repository = Repository(settings.model_repository)
        loaded = LoadedModels(settings.loaded_models)
        self._worker = PatientWorker(make_worker(settings, self._hear))
        self._board = MaximizationBoard(repository, self._worker, loaded, settings)
        self._service = Service(
            FrontDesk(repository, self._worker, loaded),
            self._board,
            model_admin=settings.model_admin,
            maximum_message_bytes=settings.maximum_message_bytes,
        )
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()
        self._failure: BaseException | None = None
        self._announcement: asyncio.Task[None] | None = None

    async def start(self) -> tuple[str, ...]:
        """Listen, and start the worker in the background; calls that come before it is ready wait for it.

        Returns:
            The addresses, with the ports that were chosen where the settings say 0.

        Raises:
            CannotServe: an address is in use, or the model repository is not there.
        """
        root = self._settings.model_repository
        if root is not None and not root.is_dir():
            raise CannotServe(f"the model repository {root} is not a folder (setting model_repository)")
        try:
            addresses = self._service.bind(self._settings.listen)
        except CannotListen as error:
            raise CannotServe(str(error)) from error
        await self._service.start()
        self._worker.begin(self._worker_started)
        return addresses

    def request_stop(self) -> None:
        """Ask the service to end; a second time, at once."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    async def run(self) -> None:
        """Wait until the service is asked to end, or its worker cannot start; then end it in order.

        Raises:
            CannotServe: the worker could not be started.
        """
        await self._stopping.wait()
        logger.info("stopping")
        await self.stop()
        if self._failure is not None:
            raise CannotServe(f"the worker could not be started: {self._failure}")

    async def stop(self) -> None:
        """Take no more calls, let running ones end for a while, cancel the rest, and end the worker."""
        draining = asyncio.create_task(self._service.drain(grace_seconds=self._settings.shutdown_grace_seconds))
        hurrying = asyncio.create_task(self._hurrying.wait())
        await asyncio.wait((draining, hurrying), return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        if not draining.done():
            await self._service.drain(grace_seconds=0)
        await draining
        self._board.close()
        await self._worker.stop()

    def _hear(self, event: JobEvent) -> None:
        self._board.hear(event)

    def _worker_started(self, starting: "asyncio.Task[None]") -> None:
        if starting.cancelled():
            return
        self._failure = starting.exception()
        if self._failure is None:
            logger.info("the worker is ready")
            self._announcement = asyncio.create_task(self._service.set_ready(ready=True))
        else:
            logger.error("the worker could not be started: %s", self._failure)
            self._hurrying.set()
            self._stopping.set()


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, or until standard input is closed where the settings say so.

    Raises:
        CannotServe: the service cannot start.
    """
    application = Application(settings)
    addresses = await application.start()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, application.request_stop)
    if settings.parent_pipe:
        _when_input_closes(loop, application.request_stop)
    print(READY, ", ".join(addresses), file=sys.stdout, flush=True)
    await application.run()


def _when_input_closes(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Call back when standard input has ended.

    A thread, because an event loop cannot watch every kind of input; it reads the descriptor itself, because a thread
    that holds the lock of `sys.stdin` would keep the interpreter from ending.
    """

    def read() -> None:
        with suppress(OSError):  # it is closed already
            while os.read(0, 4096):
                pass
        with suppress(RuntimeError):  # the service has ended by itself
            loop.call_soon_threadsafe(callback)

    threading.Thread(target=read, name="parent-pipe", daemon=True).start()

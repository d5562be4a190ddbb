"""The blocking client: every method is the asynchronous one of `phosphene.aio`, waited for.

The calls run in an event loop in a background thread, so they work in scripts, in notebooks, whose own loop is busy,
and from several threads at once.
"""

import threading
import weakref
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from phosphene import aio
from phosphene._loop import BackgroundLoop
from phosphene._runs import LayerRun, Run
from phosphene.embedded import EmbeddedServer

__all__ = ["Client", "LayerRun", "Run", "connect", "launch"]

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def connect(address: str, *, timeout: float | None = aio.DEFAULT_TIMEOUT_SECONDS) -> "Client":
    """A client of the server at an address; it connects at the first call.

    Args:
        address: `host:port` or `unix:PATH`.
        timeout: Seconds that each call may take, except the streams of maximizations. None: for ever.
    """
    return Client(address, timeout=timeout)


def launch(
    model_repository: str | Path | None = None, *, start_timeout: float = 120.0, **settings: str | int | float | bool
) -> "Client":
    """Start a server of one's own on this machine; closing the client ends it, and so does the end of this program.

    Args:
        model_repository: Folder of models, `NAME/VERSION/model.{onnx,pt,pt2}`. None: only the bundled model.
        start_timeout: Seconds until the server must be ready.
        settings: Further settings of the server, for example `device="cpu"`; `phosphene serve --help` explains them.

    Raises:
        LaunchFailed: the server could not be started; the message tells what it wrote.
    """
    server = EmbeddedServer(model_repository, start_timeout=start_timeout, **settings)
    server.start()
    return Client(server.address, server=server)


def _blocking(
    method: Callable[Concatenate[aio.Client, Arguments], Awaitable[Answer]],
) -> Callable[Concatenate["Client", Arguments], Answer]:
    """The method of the asynchronous client, waited for; it keeps its signature and its documentation."""

    @wraps(method)
    def call(client: "Client", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        return client._loop.run(method(client._client, *args, **kwargs))

    return call


def _running(
    method: Callable[Concatenate[aio.Client, Arguments], Awaitable[aio.Run]],
) -> Callable[Concatenate["Client", Arguments], Run]:
    """The same for a method that starts or watches a maximization."""

    @wraps(method)
    def call(client: "Client", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Run:
        return Run(client._loop.run(method(client._client, *args, **kwargs)), loop=client._loop, client=client)

    return call


def _running_layer(
    method: Callable[Concatenate[aio.Client, Arguments], Awaitable[aio.LayerRun]],
) -> Callable[Concatenate["Client", Arguments], LayerRun]:
    """The same for a method that starts or watches the maximization of a layer."""

    @wraps(method)
    def call(client: "Client", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> LayerRun:
        return LayerRun(client._loop.run(method(client._client, *args, **kwargs)), loop=client._loop, client=client)

    return call


class Client:
    """Speaks with one server. Made by `connect` and `launch`; close it, or use it as a context manager."""

    def __init__(
        self,
        address: str,
        *,
        timeout: float | None = aio.DEFAULT_TIMEOUT_SECONDS,
        server: EmbeddedServer | None = None,
    ) -> None:
        self._loop = BackgroundLoop()
        self._client = self._loop.run(_open(address, timeout, server))
        # Runs once: when the client is closed, or when it is forgotten, or when the program ends.
        self._finalizer = weakref.finalize(self, _close, self._loop, self._client, server)

    models = _blocking(aio.Client.models)
    model = _blocking(aio.Client.model)
    extract_filters = _blocking(aio.Client.extract_filters)
    apply_kernel = _blocking(aio.Client.apply_kernel)
    maximize = _running(aio.Client.maximize)
    watch = _running(aio.Client.watch)
    maximize_layer = _running_layer(aio.Client.maximize_layer)
    watch_layer = _running_layer(aio.Client.watch_layer)
    maximization = _blocking(aio.Client.maximization)
    maximizations = _blocking(aio.Client.maximizations)
    cancel = _blocking(aio.Client.cancel)

    @property
    def address(self) -> str:
        """The address of the server."""
        return self._client.address

    def close(self) -> None:
        """End the connection, and with it the maximizations that are still streamed and an embedded server."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


async def _open(address: str, timeout: float | None, server: EmbeddedServer | None) -> aio.Client:
    """Make the client inside the loop that it belongs to."""
    return aio.Client(address, timeout=timeout, server=server)


def _close(loop: BackgroundLoop, client: aio.Client, server: EmbeddedServer | None) -> None:
    if loop.is_here():  # the garbage collector may find a forgotten client in any thread
        threading.Thread(target=_close, args=(loop, client, server)).start()
        return
    try:
        loop.run(client.close())
    finally:
        loop.stop()
        if server is not None:
            server.stop()

"""A maximization that is streamed, asynchronously."""

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

import grpc

from phosphene._wire.maximizations import decode_event, decode_settings
from phosphene.errors import Cancelled, InternalError, PhospheneError
from phosphene.maximizations import Event, Frame, MaximizationSettings, MaximizationWarning, Progress, Result
from phosphene.v1 import maximization_pb2

Stream = (
    grpc.aio.UnaryStreamCall[maximization_pb2.MaximizeActivationRequest, maximization_pb2.MaximizeActivationResponse]
    | grpc.aio.UnaryStreamCall[maximization_pb2.WatchMaximizationRequest, maximization_pb2.WatchMaximizationResponse]
)


class Run:
    """A maximization that is streamed. Iterate it for its frames; `result()` gives the pictures.

    The events are pulled from the server as they are asked for: a slow reader loses intermediate frames, which are
    counted in `frame.dropped`, never the result. Each event is given once, to whichever of the iterations asks first.
    Unless it was started with `linger`, the job ends when the run is closed or forgotten.

    Attributes:
        id: The id by which any client of the server reaches the job.
        settings: The request with every default filled in.
        progress: The latest progress; None before the first.
        warnings: All warnings so far.
        owned: Whether this run started the job; False for a run that only watches it.
    """

    id: str
    settings: MaximizationSettings

    def __init__(
        self,
        stream: Stream,
        *,
        cancel: Callable[[str], Awaitable[bool]],
        explain: Callable[[grpc.aio.AioRpcError], Awaitable[PhospheneError]],
        owned: bool,
    ) -> None:
        self._stream = stream
        self._cancel = cancel
        self._explain = explain
        self._result: Result | None = None
        self.owned = owned
        self.progress: Progress | None = None
        self.warnings: tuple[MaximizationWarning, ...] = ()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self._frames()

    async def _frames(self) -> AsyncIterator[Frame]:
        while (event := await self.next_event()) is not None:
            if isinstance(event, Frame):
                yield event

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens, in order: progress, frames, warnings, and last the result."""
        while (event := await self.next_event()) is not None:
            yield event

    async def next_event(self) -> Event | None:
        """The next event; None after the result.

        Raises:
            PhospheneError: the job failed, or the connection did.
        """
        while self._result is None:
            response = await self._read()
            event = decode_event(response.event)
            if event is not None:
                self._remember(event)
                return event
        return None

    async def result(self) -> Result:
        """What was found; waits for the end of the job and passes over the events until then.

        Raises:
            PhospheneError: the job failed, or the connection did.
        """
        while self._result is None:
            await self.next_event()
        return self._result

    async def cancel(self) -> bool:
        """End the job before its next step; `result()` then gives what it has found so far.

        Returns:
            Whether it had not ended before.
        """
        return await self._cancel(self.id)

    async def close(self) -> None:
        """Stop watching; this ends a job that was started without `linger`."""
        self._stream.cancel()

    async def accept(self) -> None:
        """Wait for the first event; `id` and `settings` are there from then on.

        Raises:
            PhospheneError: the job was refused.
        """
        response = await self._read()
        accepted = response.event.accepted
        self.id = accepted.maximization_id
        self.settings = decode_settings(accepted.settings)

    async def _read(
        self,
    ) -> maximization_pb2.MaximizeActivationResponse | maximization_pb2.WatchMaximizationResponse:
        if self._stream.cancelled():
            raise Cancelled("this run is closed")
        try:
            response = await self._stream.read()
        except grpc.aio.AioRpcError as error:
            raise await self._explain(error) from error
        if isinstance(
            response, maximization_pb2.MaximizeActivationResponse | maximization_pb2.WatchMaximizationResponse
        ):
            return response
        raise await self._failure()

    async def _failure(self) -> PhospheneError:
        """Why the stream ended before a result came."""
        if await self._stream.code() == grpc.StatusCode.OK:
            return InternalError("the stream ended without a result")
        error = grpc.aio.AioRpcError(
            await self._stream.code(),
            await self._stream.initial_metadata(),
            await self._stream.trailing_metadata(),
            details=await self._stream.details(),
        )
        return await self._explain(error)

    def _remember(self, event: Event) -> None:
        match event:
            case Progress():
                self.progress = event
            case MaximizationWarning():
                self.warnings = (*self.warnings, event)
            case Result():
                self._result = event

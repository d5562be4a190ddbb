"""The events of a job, read from its stream as they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

import grpc

from phosphene.errors import Cancelled, InternalError, PhospheneError
from phosphene.v1 import maximization_pb2 as pb

Response = (
    pb.MaximizeActivationResponse | pb.WatchMaximizationResponse | pb.MaximizeLayerResponse | pb.WatchLayerResponse
)
Stream = (
    grpc.aio.UnaryStreamCall[pb.MaximizeActivationRequest, pb.MaximizeActivationResponse]
    | grpc.aio.UnaryStreamCall[pb.WatchMaximizationRequest, pb.WatchMaximizationResponse]
    | grpc.aio.UnaryStreamCall[pb.MaximizeLayerRequest, pb.MaximizeLayerResponse]
    | grpc.aio.UnaryStreamCall[pb.WatchLayerRequest, pb.WatchLayerResponse]
)

Event = TypeVar("Event")
Result = TypeVar("Result")


class StreamedJob(ABC, Generic[Event, Result]):
    """A job that is streamed: what runs of all kinds have in common."""

    id: str

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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens, in order, and last the result."""
        while (event := await self.next_event()) is not None:
            yield event

    async def next_event(self) -> Event | None:
        """The next event; None after the result.

        Raises:
            PhospheneError: the job failed, or the connection did.
        """
        while self._result is None:
            event = self._receive(await self._read())
            if event is not None:
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
        self.id = response.event.accepted.maximization_id
        self._accept(response)

    @abstractmethod
    def _accept(self, response: Response) -> None:
        """Take the settings of the first event."""

    @abstractmethod
    def _receive(self, response: Response) -> Event | None:
        """Remember and return an event; None for one that this client does not know."""

    async def _read(self) -> Response:
        if self._stream.cancelled():
            raise Cancelled("this run is closed")
        try:
            response = await self._stream.read()
        except grpc.aio.AioRpcError as error:
            raise await self._explain(error) from error
        if isinstance(response, Response):
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

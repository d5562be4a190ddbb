"""MaximizationService."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import TypeVar

from phosphene.v1 import maximization_pb2 as pb
from phosphene.v1.maximization_pb2_grpc import MaximizationServiceServicer

from phosphene_server.jobs.board import MaximizationBoard
from phosphene_server.jobs.watch import Watch
from phosphene_server.rpc.codec import to_message, to_value
from phosphene_server.values import maximization as values

CACHED_FRAMES = 32
"""Frames whose messages are kept for the next watcher; about a hundred kilobytes each."""

Response = TypeVar("Response", pb.MaximizeActivationResponse, pb.WatchMaximizationResponse)


class MaximizationServicer(MaximizationServiceServicer):
    """Starts maximizations and reaches them by their ids."""

    def __init__(self, board: MaximizationBoard) -> None:
        """Take the board that keeps the jobs."""
        self._board = board
        self._frames = _FrameMessages(CACHED_FRAMES)

    # The stubs say that a stream is returned, but not that of an async generator.
    async def MaximizeActivation(  # type: ignore[override]
        self, request: pb.MaximizeActivationRequest, context: object
    ) -> AsyncIterator[pb.MaximizeActivationResponse]:
        """Start a maximization and stream its events."""
        wanted = to_value(request, values.MaximizeActivationRequest)
        with await self._board.start(wanted) as watch:
            async for event in watch:
                yield self._told(pb.MaximizeActivationResponse(event=self._frames.message(event)), watch)

    async def WatchMaximization(  # type: ignore[override]
        self, request: pb.WatchMaximizationRequest, context: object
    ) -> AsyncIterator[pb.WatchMaximizationResponse]:
        """Stream the events of a maximization."""
        wanted = to_value(request, values.WatchMaximizationRequest)
        with self._board.watch(wanted) as watch:
            async for event in watch:
                yield self._told(pb.WatchMaximizationResponse(event=self._frames.message(event)), watch)

    async def GetMaximization(
        self, request: pb.GetMaximizationRequest, context: object
    ) -> pb.GetMaximizationResponse:
        """Describe a maximization."""
        job = self._board.describe(to_value(request, values.GetMaximizationRequest))
        return to_message(values.GetMaximizationResponse(job), pb.GetMaximizationResponse)

    async def ListMaximizations(
        self, request: pb.ListMaximizationsRequest, context: object
    ) -> pb.ListMaximizationsResponse:
        """List maximizations."""
        page = self._board.list(to_value(request, values.ListMaximizationsRequest))
        return to_message(page, pb.ListMaximizationsResponse)

    async def CancelMaximization(
        self, request: pb.CancelMaximizationRequest, context: object
    ) -> pb.CancelMaximizationResponse:
        """End a maximization."""
        cancelled = self._board.cancel(to_value(request, values.CancelMaximizationRequest))
        return to_message(values.CancelMaximizationResponse(cancelled), pb.CancelMaximizationResponse)

    @staticmethod
    def _told(response: Response, watch: Watch) -> Response:
        """Write into a frame how many others this watcher has lost: frames are shared, that number is not."""
        if response.event.HasField("frame"):
            response.event.frame.dropped = watch.dropped
        return response


class _FrameMessages:
    """Makes the message of an event; that of a frame once for all its watchers."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[int, tuple[values.MaximizationFrame, pb.MaximizationEvent]] = OrderedDict()

    def message(self, event: values.MaximizationEvent) -> pb.MaximizationEvent:
        """Return the message; the caller copies it before changing it."""
        if not isinstance(event, values.MaximizationFrame):
            return to_message(event, pb.MaximizationEvent)
        # The frame is kept beside its message, so its identity is not given to another object meanwhile.
        if id(event) not in self._kept:
            self._kept[id(event)] = event, to_message(event, pb.MaximizationEvent)
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return self._kept[id(event)][1]

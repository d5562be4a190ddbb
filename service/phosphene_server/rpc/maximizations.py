"""MaximizationService."""

from collections.abc import AsyncIterator

from phosphene.v1 import maximization_pb2 as pb
from phosphene.v1.maximization_pb2_grpc import MaximizationServiceServicer
from phosphene_server.jobs.board import MaximizationBoard
from phosphene_server.rpc.codec import to_message, to_value
from phosphene_server.values import maximization as values


class MaximizationServicer(MaximizationServiceServicer):
    """Starts maximizations and reaches them by their ids.

    Each watcher has its own message of a frame: making and serializing one of 20 KB takes 12 us, and sharing it would
    save 9 of them.
    """

    def __init__(self, board: MaximizationBoard) -> None:
        """Take the board that keeps the jobs."""
        self._board = board

    async def MaximizeActivation(
        self, request: pb.MaximizeActivationRequest, context: object
    ) -> AsyncIterator[pb.MaximizeActivationResponse]:
        """Start a maximization and stream its events."""
        wanted = to_value(request, values.MaximizeActivationRequest)
        with await self._board.start(wanted) as watch:
            async for event in watch:
                yield pb.MaximizeActivationResponse(event=to_message(event, pb.MaximizationEvent))

    async def WatchMaximization(
        self, request: pb.WatchMaximizationRequest, context: object
    ) -> AsyncIterator[pb.WatchMaximizationResponse]:
        """Stream the events of a maximization."""
        wanted = to_value(request, values.WatchMaximizationRequest)
        with self._board.watch(wanted) as watch:
            async for event in watch:
                yield pb.WatchMaximizationResponse(event=to_message(event, pb.MaximizationEvent))

    async def MaximizeLayer(
        self, request: pb.MaximizeLayerRequest, context: object
    ) -> AsyncIterator[pb.MaximizeLayerResponse]:
        """Start the maximization of a layer and stream its events."""
        wanted = to_value(request, values.MaximizeLayerRequest)
        with await self._board.start_layer(wanted) as watch:
            async for event in watch:
                yield pb.MaximizeLayerResponse(event=to_message(event, pb.LayerEvent))

    async def WatchLayer(self, request: pb.WatchLayerRequest, context: object) -> AsyncIterator[pb.WatchLayerResponse]:
        """Stream the events of the maximization of a layer."""
        wanted = to_value(request, values.WatchLayerRequest)
        with self._board.watch_layer(wanted) as watch:
            async for event in watch:
                yield pb.WatchLayerResponse(event=to_message(event, pb.LayerEvent))

    async def GetMaximization(self, request: pb.GetMaximizationRequest, context: object) -> pb.GetMaximizationResponse:
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

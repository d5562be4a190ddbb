"""The maximization of a layer that is streamed, asynchronously."""

from collections.abc import AsyncIterator, Mapping

from phosphene._stream import Response, StreamedJob
from phosphene._wire.layers import decode_layer_event, decode_layer_settings, decode_sheet
from phosphene.layers import (
    LayerEvent,
    LayerFailure,
    LayerPicture,
    LayerProgress,
    LayerResult,
    LayerSettings,
    LayerWarning,
)
from phosphene.v1 import maximization_pb2 as pb


class LayerRun(StreamedJob[LayerEvent, LayerResult]):
    """The maximization of a layer that is streamed. Iterate it for its pictures, as each is finished.

    A slow reader loses intermediate frames, if it asked for any, never a picture. Each event is given once, to
    whichever of the iterations asks first. Unless it was started with `linger`, the job ends when the run is closed or
    forgotten.

    Attributes:
        id: The id by which any client of the server reaches the job.
        settings: The request with every default filled in, the channels among them.
        progress: The latest progress; None before the first.
        warnings: All warnings so far.
        owned: Whether this run started the job; False for a run that only watches it.
    """

    settings: LayerSettings
    progress: LayerProgress | None = None
    warnings: tuple[LayerWarning, ...] = ()

    @property
    def pictures(self) -> Mapping[int, LayerPicture]:
        """The pictures so far, by their channel, in the order in which they came."""
        return self._pictures

    @property
    def failures(self) -> Mapping[int, LayerFailure]:
        """The channels that have failed so far."""
        return self._failures

    def __aiter__(self) -> AsyncIterator[LayerPicture]:
        return self._finished()

    async def _finished(self) -> AsyncIterator[LayerPicture]:
        while (event := await self.next_event()) is not None:
            if isinstance(event, LayerPicture):
                yield event

    def _accept(self, response: Response) -> None:
        assert isinstance(response, pb.MaximizeLayerResponse | pb.WatchLayerResponse)
        self.settings = decode_layer_settings(response.event.accepted.settings)
        self._pictures: dict[int, LayerPicture] = {}
        self._failures: dict[int, LayerFailure] = {}

    def _receive(self, response: Response) -> LayerEvent | None:
        assert isinstance(response, pb.MaximizeLayerResponse | pb.WatchLayerResponse)
        if response.event.HasField("result"):
            self._result = self._concluded(response.event.result)
            return self._result
        event = decode_layer_event(response.event)
        match event:
            case LayerProgress():
                self.progress = event
            case LayerWarning():
                self.warnings = (*self.warnings, event)
            case LayerPicture():
                self._pictures[event.channel] = event
            case LayerFailure():
                self._failures[event.channel] = event
        return event

    def _concluded(self, message: pb.LayerResult) -> LayerResult:
        """The result, with the pictures that came before it."""
        order = [channel for channel in self.settings.channels if channel in self._pictures]
        return LayerResult(
            pictures={channel: self._pictures[channel] for channel in order},
            failures=dict(self._failures),
            cancelled=message.cancelled,
            sheet=decode_sheet(message.sheet) if message.HasField("sheet") else None,
            duration_seconds=message.duration.ToTimedelta().total_seconds(),
        )

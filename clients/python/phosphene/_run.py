"""A maximization that is streamed, asynchronously."""

from collections.abc import AsyncIterator

from phosphene._stream import Response, StreamedJob
from phosphene._wire.maximizations import decode_event, decode_settings
from phosphene.maximizations import Event, Frame, MaximizationSettings, MaximizationWarning, Progress, Result
from phosphene.v1 import maximization_pb2 as pb


class Run(StreamedJob[Event, Result]):
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

    settings: MaximizationSettings
    progress: Progress | None = None
    warnings: tuple[MaximizationWarning, ...] = ()

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self._frames()

    async def _frames(self) -> AsyncIterator[Frame]:
        while (event := await self.next_event()) is not None:
            if isinstance(event, Frame):
                yield event

    def _accept(self, response: Response) -> None:
        assert isinstance(response, pb.MaximizeActivationResponse | pb.WatchMaximizationResponse)
        self.settings = decode_settings(response.event.accepted.settings)

    def _receive(self, response: Response) -> Event | None:
        assert isinstance(response, pb.MaximizeActivationResponse | pb.WatchMaximizationResponse)
        event = decode_event(response.event)
        match event:
            case Progress():
                self.progress = event
            case MaximizationWarning():
                self.warnings = (*self.warnings, event)
            case Result():
                self._result = event
        return event

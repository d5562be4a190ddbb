"""Jobs that are streamed, for the blocking client: the asynchronous ones, waited for."""

from collections.abc import Awaitable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Generic, Self, TypeVar

from phosphene import aio
from phosphene._loop import BackgroundLoop
from phosphene._stream import StreamedJob
from phosphene.errors import PhospheneError
from phosphene.layers import (
    LayerEvent,
    LayerFailure,
    LayerPicture,
    LayerProgress,
    LayerResult,
    LayerSettings,
    LayerWarning,
)
from phosphene.maximizations import Event, Frame, MaximizationSettings, MaximizationWarning, Progress, Result

Happening = TypeVar("Happening")
Found = TypeVar("Found")
Answer = TypeVar("Answer")


class BlockingJob(Generic[Happening, Found]):
    """What the blocking runs of all kinds have in common."""

    def __init__(self, run: StreamedJob[Happening, Found], *, loop: BackgroundLoop, client: object) -> None:
        self._job = run
        self._loop = loop
        self._client = client  # a run that is in use keeps its client, and an embedded server, alive

    @property
    def id(self) -> str:
        """The id by which any client of the server reaches the job."""
        return self._job.id

    def events(self) -> Iterator[Happening]:
        """Everything that happens, in order, and last the result."""
        while (event := self._wait(self._job.next_event())) is not None:
            yield event

    def result(self) -> Found:
        """What was found; waits for the end of the job and passes over the events until then.

        Raises:
            PhospheneError: the job failed, or the connection did.
        """
        return self._wait(self._job.result())

    def cancel(self) -> bool:
        """End the job before its next step; `result()` then gives what it has found so far.

        Returns:
            Whether it had not ended before.
        """
        return self._loop.run(self._job.cancel())

    def close(self) -> None:
        """Stop watching; this ends a job that was started without `linger`."""
        self._loop.run(self._job.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self, answer: Awaitable[Answer]) -> Answer:
        try:
            return self._loop.run(answer)
        except KeyboardInterrupt:
            # The interrupted wait has closed the stream; a job that lingers has to be told.
            if self._job.owned:
                with suppress(PhospheneError):
                    self.cancel()
            raise


class Run(BlockingJob[Event, Result]):
    """A maximization that is streamed. Iterate it for its frames; `result()` gives the pictures.

    The events are pulled from the server as they are asked for: a slow reader loses intermediate frames, which are
    counted in `frame.dropped`, never the result. Each event is given once, to whichever of the iterations asks first.
    Unless it was started with `linger`, the job ends when the run is closed or forgotten. Interrupting the wait
    (Ctrl-C) cancels a job that this run started.
    """

    def __init__(self, run: aio.Run, *, loop: BackgroundLoop, client: object) -> None:
        super().__init__(run, loop=loop, client=client)
        self._run = run

    @property
    def settings(self) -> MaximizationSettings:
        """The request with every default filled in."""
        return self._run.settings

    @property
    def progress(self) -> Progress | None:
        """The latest progress; None before the first."""
        return self._run.progress

    @property
    def warnings(self) -> tuple[MaximizationWarning, ...]:
        """All warnings so far."""
        return self._run.warnings

    def __iter__(self) -> Iterator[Frame]:
        for event in self.events():
            if isinstance(event, Frame):
                yield event


class LayerRun(BlockingJob[LayerEvent, LayerResult]):
    """The maximization of a layer that is streamed. Iterate it for its pictures, as each is finished.

    A slow reader loses intermediate frames, if it asked for any, never a picture. Each event is given once, to
    whichever of the iterations asks first. Unless it was started with `linger`, the job ends when the run is closed or
    forgotten.
    Interrupting the wait (Ctrl-C) cancels a job that this run started; `pictures` has those that came.
    """

    def __init__(self, run: aio.LayerRun, *, loop: BackgroundLoop, client: object) -> None:
        super().__init__(run, loop=loop, client=client)
        self._run = run

    @property
    def settings(self) -> LayerSettings:
        """The request with every default filled in, the channels among them."""
        return self._run.settings

    @property
    def progress(self) -> LayerProgress | None:
        """The latest progress; None before the first."""
        return self._run.progress

    @property
    def warnings(self) -> tuple[LayerWarning, ...]:
        """All warnings so far."""
        return self._run.warnings

    @property
    def pictures(self) -> Mapping[int, LayerPicture]:
        """The pictures so far, by their channel, in the order in which they came."""
        return self._run.pictures

    @property
    def failures(self) -> Mapping[int, LayerFailure]:
        """The channels that have failed so far."""
        return self._run.failures

    def __iter__(self) -> Iterator[LayerPicture]:
        for event in self.events():
            if isinstance(event, LayerPicture):
                yield event

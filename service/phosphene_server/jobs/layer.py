"""The maximization of a layer: one picture for each of many channels, each a job of the worker.

The worker is given a bounded number of them at a time, all with the same owner, so that they share what one owner gets
of the device. A channel that fails is told and takes no other with it. Finished pictures are kept, compressed, for
watchers who come late, so a lost connection loses none.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass

from phosphene_server.errors import InternalError, PhospheneError
from phosphene_server.jobs.audience import Audience
from phosphene_server.jobs.layer_pace import LayerPace
from phosphene_server.jobs.layer_sheet import contact_sheet
from phosphene_server.jobs.layer_watch import LayerWatch
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import (
    LayerAccepted,
    LayerEvent,
    LayerFailure,
    LayerFrame,
    LayerPicture,
    LayerResult,
    LayerWarning,
    Maximization,
    MaximizationResult,
    MaximizationState,
    MaximizeLayerRequest,
)
from phosphene_server.values.work import JobEvent, JobFailed, JobFinished, JobFramed, JobProgressed, JobWarned

logger = logging.getLogger(__name__)

OUTSTANDING_PICTURES = 128
"""The most pictures of one layer that the worker is given at a time: more than any device steps at once, few enough to
end soon."""


@dataclass(frozen=True)
class LayerOrders:
    """What a layer asks of the board that keeps it."""

    submit: Callable[[int], None]
    """Gives the picture of a channel to the worker."""
    cancel: Callable[[int], None]
    """Asks the worker to end the picture of a channel."""
    ended: Callable[[], None]
    """Hears once that the layer has ended."""


class LayerJob:
    """The maximization of a layer as the front sees it. While it runs, somebody must watch it, as with any job."""

    def __init__(
        self,
        accepted: LayerAccepted,
        *,
        number: int,
        create_time: float,
        tile: ImageSize,
        progress_seconds: float,
        orders: LayerOrders,
    ) -> None:
        """Take what was accepted. Call this in the event loop.

        Args:
            accepted: The first event.
            number: Counts the jobs of this service; newer ones have higher numbers.
            create_time: When it was accepted, in seconds since 1970.
            tile: How large each picture is on the contact sheet.
            progress_seconds: The time between two progress events.
            orders: What is done for it.
        """
        self.number = number
        self.state: MaximizationState = "queued"
        self._accepted = accepted
        self._create_time = create_time
        self._tile = tile
        self._progress_seconds = progress_seconds
        self._orders = orders
        self._audience: Audience[LayerEvent] = Audience(linger=accepted.settings.linger, cancel=self._give_up)
        self._waiting = list(reversed(accepted.settings.channels))
        self._outstanding: set[int] = set()
        self._pictures: list[LayerPicture] = []
        self._failures: dict[int, LayerFailure] = {}
        self._first_error: PhospheneError | None = None
        self._result: LayerResult | None = None
        self._error: PhospheneError | None = None
        self._clock = asyncio.get_running_loop().time
        self._pace = LayerPace(pictures=accepted.pictures, steps=accepted.settings.steps)
        self._progress = self._pace.progress(now=self._clock())
        self._told = self._clock()
        self._conclusion: asyncio.Task[None] | None = None

    @property
    def job_id(self) -> str:
        """The id by which callers reach it."""
        return self._accepted.maximization_id

    @property
    def settings(self) -> MaximizeLayerRequest:
        """The request with every default filled in."""
        return self._accepted.settings

    @property
    def ended(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._result is not None or self._error is not None

    @property
    def running_pictures(self) -> int:
        """How many of its pictures the worker has begun and not ended."""
        return self._pace.running

    @property
    def remaining_seconds(self) -> float | None:
        """The time left, as far as it is known."""
        return self._progress.remaining

    @property
    def kept_bytes(self) -> int:
        """The size of the pictures that are kept."""
        return sum(len(picture.image.data) for picture in self._pictures)

    def describe(self) -> Maximization:
        """Return the job as GetMaximization shows it."""
        return Maximization(
            maximization_id=self.job_id,
            state=self.state,
            settings=None,
            progress=None,
            create_time=self._create_time,
            error=str(self._error) if self._error else "",
            layer_settings=self.settings,
            layer_progress=self._progress,
        )

    def begin(self) -> None:
        """Give the first pictures to the worker."""
        while self._waiting and len(self._outstanding) < OUTSTANDING_PICTURES:
            channel = self._waiting.pop()
            self._outstanding.add(channel)
            self._orders.submit(channel)

    def watch(self, *, from_picture: int = 0) -> LayerWatch:
        """Return a new watcher: `accepted`, all pictures and failures so far, what happens from now on."""
        watch = LayerWatch(self._audience.leave, self._pictures, from_picture=from_picture)
        for event in (self._accepted, *self._failures.values(), self._result):
            if event is not None:
                watch.push(event)
        if self.ended:
            watch.end(self._error)
        else:
            self._audience.join(watch)
        return watch

    def cancel(self) -> bool:
        """End it before its next step; return False when it had ended before."""
        if self.ended:
            return False
        self._waiting.clear()
        for channel in tuple(self._outstanding):
            self._orders.cancel(channel)
        self._conclude_if_done()
        return True

    def hear(self, channel: int, event: JobEvent) -> None:
        """Take an event of the picture of a channel."""
        if channel not in self._outstanding:
            return
        match event:
            case JobProgressed(progress=progress):
                if progress.step > 0 or progress.queue_position == 0:
                    self._advanced(channel, progress.step)
                elif self.state == "queued":
                    self._tell_progress(queue_position=progress.queue_position)
            case JobFramed(frame=frame):
                self._advanced(channel, frame.step)
                self._audience.tell(LayerFrame(channel, frame.step, frame.images[0], frame.objective[0]))
            case JobWarned(warning=warning):
                self._audience.tell(LayerWarning(channel, warning.step, warning.reason, warning.message))
            case JobFinished(result=result):
                self._finished(channel, result)
            case JobFailed(error=error):
                self._failed(channel, error)

    def forget(self) -> None:
        """Let go of what would still happen, for a job that is kept no longer."""
        self._audience.forget()
        if self._conclusion is not None:
            self._conclusion.cancel()

    def _give_up(self) -> None:
        self.cancel()

    def _advanced(self, channel: int, step: int) -> None:
        begins, self.state = self.state == "queued", "running"
        self._pace.advanced(channel, step, now=self._clock())
        if begins or self._clock() - self._told >= self._progress_seconds:
            self._tell_progress()

    def _finished(self, channel: int, result: MaximizationResult) -> None:
        """Take a picture; what a cancelled one has reached so far is nobody's picture of the channel."""
        self._outstanding.discard(channel)
        if result.stop_reason != "cancelled":
            self._advanced(channel, result.step)
            self._pace.finished(channel, result.step, now=self._clock())
            picture = LayerPicture(
                index=len(self._pictures),
                channel=channel,
                image=result.images[0],
                objective=result.objective[0],
                step=result.step,
                stop_reason=result.stop_reason,
            )
            self._pictures.append(picture)
            self._audience.tell(picture)
            self._tell_progress()
        self._go_on()

    def _failed(self, channel: int, error: PhospheneError) -> None:
        self._outstanding.discard(channel)
        self._pace.failed(channel)
        self._first_error = self._first_error or error
        failure = LayerFailure(channel, reason_of(error), str(error))
        self._failures[channel] = failure
        self._audience.tell(failure)
        self._tell_progress()
        self._go_on()

    def _go_on(self) -> None:
        self.begin()
        self._conclude_if_done()

    def _tell_progress(self, *, queue_position: int = 0) -> None:
        self._told = self._clock()
        self._progress = self._pace.progress(now=self._told, queue_position=queue_position)
        self._audience.tell(self._progress)

    def _conclude_if_done(self) -> None:
        if not self._waiting and not self._outstanding and self._conclusion is None:
            self._conclusion = asyncio.create_task(self._conclude())

    async def _conclude(self) -> None:
        """Draw the sheet and tell the end."""
        # Told to end after the last channel had failed, it has failed all the same.
        if self._first_error is not None and len(self._failures) == self._accepted.pictures:
            self._error = self._first_error
        else:
            try:
                self._result = await self._draw_result()
            except Exception:
                logger.exception("drawing the contact sheet of %s failed", self.job_id)
                self._error = InternalError("drawing a contact sheet")
        if self._result is not None:
            self.state = "cancelled" if self._result.cancelled else "succeeded"
            self._audience.tell(self._result)
        else:
            self.state = "failed"
        self._audience.end(self._error)
        self._orders.ended()

    async def _draw_result(self) -> LayerResult:
        places = {channel: place for place, channel in enumerate(self.settings.channels)}
        pictures = sorted(self._pictures, key=lambda picture: places[picture.channel])
        sheet = None
        if pictures:
            sheet = await asyncio.to_thread(contact_sheet, pictures, self.settings.sheet, self._tile)
        return LayerResult(
            finished=len(pictures),
            failed_channels=tuple(sorted(self._failures, key=places.__getitem__)),
            cancelled=len(pictures) + len(self._failures) < len(places),
            sheet=sheet,
            duration=self._pace.duration_seconds,
        )


def reason_of(error: PhospheneError) -> str:
    """Return the name of an error for programs: `WorkerLost` is WORKER_LOST."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).upper()

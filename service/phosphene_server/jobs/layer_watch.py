"""One watcher of the maximization of a layer.

The pictures are kept by the job in any case, for watchers who come late, so a watcher only remembers its place among
them: however slow it is, it loses none and costs nothing. Of frames one waits for each channel, of progress one at all;
what else there is (`accepted`, failures, warnings, the result) is small or final and waits in order.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from phosphene_server.jobs.watcher import Watcher
from phosphene_server.values.maximization import (
    LayerAccepted,
    LayerEvent,
    LayerFailure,
    LayerFrame,
    LayerPicture,
    LayerProgress,
    LayerResult,
)


class LayerWatch(Watcher[LayerEvent]):
    """An asynchronous iterator over the events of a layer; leaving its `with` block tells the job that nobody reads."""

    def __init__(
        self, leave: Callable[[Watcher[LayerEvent]], None], pictures: Sequence[LayerPicture], *, from_picture: int
    ) -> None:
        """Take what is called once when the watcher leaves, and the pictures of the job, to which more are added."""
        super().__init__(leave)
        self._pictures = pictures
        self._place = from_picture
        self._waiting: list[LayerEvent] = []
        self._dropped = 0
        """The frames that this watcher has lost so far because it was slow."""

    def push(self, event: LayerEvent) -> None:
        """Take an event; progress takes the place of progress, a frame that of one of its channel, as does its end."""
        if isinstance(event, LayerProgress):
            self._waiting = [waiting for waiting in self._waiting if not isinstance(waiting, LayerProgress)]
        if isinstance(event, LayerFrame | LayerPicture | LayerFailure):
            self._drop_frame(event.channel)
        if not isinstance(event, LayerPicture):  # it is among those of the job, and will be read there
            self._waiting.append(event)
        self._changed.set()

    def _drop_frame(self, channel: int) -> None:
        before = len(self._waiting)
        self._waiting = [waiting for waiting in self._waiting if not _shows(waiting, channel)]
        self._dropped += before - len(self._waiting)

    def _next(self) -> LayerEvent | None:
        """Return `accepted` first, the result last, and between them pictures before all else."""
        if self._place < len(self._pictures) and not (self._waiting and isinstance(self._waiting[0], LayerAccepted)):
            self._place += 1
            return self._pictures[self._place - 1]
        if not self._waiting:
            return None
        event = self._waiting.pop(0)
        assert not isinstance(event, LayerResult) or not self._waiting, "nothing comes after the result"
        return replace(event, dropped=self._dropped) if isinstance(event, LayerFrame) else event


def _shows(event: LayerEvent, channel: int) -> bool:
    return isinstance(event, LayerFrame) and event.channel == channel

"""The frames of a maximization that are kept for watchers who come late."""

from collections import deque

from phosphene_server.values.maximization import MaximizationFrame


class FrameHistory:
    """A queue of frames, bounded by the bytes of their pictures; the oldest go first, the newest always stays.

    Frames are numbered from 0 in the order in which they came, those that are gone included, so that a reader can
    remember its place and count what it has missed.
    """

    def __init__(self, limit_bytes: int) -> None:
        """Take the most bytes of pictures that are kept."""
        self._limit_bytes = limit_bytes
        self._frames: deque[MaximizationFrame] = deque()
        self._bytes = 0
        self._first = 0

    @property
    def first(self) -> int:
        """The number of the oldest frame that is kept, or of the next frame where none is."""
        return self._first

    def append(self, frame: MaximizationFrame) -> None:
        """Keep a frame, and let go of old ones until all fit."""
        self._frames.append(frame)
        self._bytes += _size(frame)
        while self._bytes > self._limit_bytes and len(self._frames) > 1:
            self._bytes -= _size(self._frames.popleft())
            self._first += 1

    def get(self, number: int) -> MaximizationFrame | None:
        """Return a frame by its number; None when it is gone or did not come yet."""
        index = number - self._first
        return self._frames[index] if 0 <= index < len(self._frames) else None

    def number_at(self, step: int) -> int:
        """Return the number of the first frame that is kept and shows `step` or a later one."""
        before = sum(1 for frame in self._frames if frame.step < step)
        return self._first + before


def _size(frame: MaximizationFrame) -> int:
    return sum(len(image.data) for image in frame.images)

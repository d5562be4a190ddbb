"""How far the maximization of a layer is, how fast, and how long it still takes."""

from collections import deque

from phosphene_server.values.maximization import LayerProgress

SPEED_SECONDS = 15.0
"""How far back the speed looks: pictures that are stepped together end together, so it is counted in steps."""


class LayerPace:
    """Counts the steps and pictures of a layer. Times are seconds of a monotonic clock, given by the caller."""

    def __init__(self, *, pictures: int, steps: int) -> None:
        """Take how many pictures there are, and the steps of each."""
        self._pictures = pictures
        self._steps = steps
        self._running: dict[int, int] = {}
        """The step of each picture that has begun and not ended, by channel."""
        self._steps_of_ended = 0
        self._finished = 0
        self._failed = 0
        self._marks: deque[tuple[float, int]] = deque()
        self._first_step = 0.0
        self._last_picture = 0.0

    @property
    def running(self) -> int:
        """How many pictures have begun and not ended."""
        return len(self._running)

    @property
    def duration_seconds(self) -> float:
        """The time from the first step to the last picture; 0 without pictures."""
        return max(0.0, self._last_picture - self._first_step)

    def advanced(self, channel: int, step: int, *, now: float) -> None:
        """Note the step of a picture."""
        if not self._marks:
            self._first_step = now
            self._marks.append((now, self._done))
        self._running[channel] = max(step, self._running.get(channel, 0))

    def finished(self, channel: int, step: int, *, now: float) -> None:
        """Note that a picture is finished after so many steps."""
        self._running.pop(channel, None)
        self._steps_of_ended += step
        self._finished += 1
        self._last_picture = now

    def failed(self, channel: int) -> None:
        """Note that a channel gets no picture; the steps that were done for it still count."""
        self._steps_of_ended += self._running.pop(channel, 0)
        self._failed += 1

    def progress(self, *, now: float, queue_position: int = 0) -> LayerProgress:
        """Return how far it is."""
        left = self._pictures - self._finished - self._failed
        to_do = left * self._steps - sum(self._running.values())
        speed = self._mark(now)
        each = self._steps_of_ended / self._finished if self._finished else self._steps
        return LayerProgress(
            finished=self._finished,
            failed=self._failed,
            pictures=self._pictures,
            step=self._done,
            steps=self._done + to_do,
            pictures_per_minute=60 * speed / max(each, 1),
            remaining=to_do / speed if speed > 0 else None,
            queue_position=queue_position,
        )

    @property
    def _done(self) -> int:
        return self._steps_of_ended + sum(self._running.values())

    def _mark(self, now: float) -> float:
        """Note where it is and return the steps per second, over about the last fifteen seconds; 0 while not known."""
        if not self._marks:
            return 0.0
        self._marks.append((now, self._done))
        while len(self._marks) > 2 and now - self._marks[1][0] >= SPEED_SECONDS:
            self._marks.popleft()
        then, earlier = self._marks[0]
        return (self._done - earlier) / (now - then) if now > then else 0.0

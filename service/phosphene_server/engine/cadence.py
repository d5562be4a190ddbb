"""When something is due, and how fast a job is. Times are seconds of a monotonic clock, given by the caller."""

from collections import deque

from phosphene_server.values.maximization import FrameOptions

SPEED_SECONDS = 3.0
"""How far back the speed of a job looks."""


class Interval:
    """Something that is due once in so many seconds."""

    def __init__(self, seconds: float, *, now: float) -> None:
        """Make it due `seconds` from now for the first time."""
        self._seconds = seconds
        self._due = now + seconds

    def passed(self, *, now: float) -> bool:
        """Tell whether it is due."""
        return now >= self._due

    def restart(self, *, now: float, at_least_seconds: float = 0.0) -> None:
        """Make it due again, one interval from now or later."""
        self._due = now + max(self._seconds, at_least_seconds)


class FrameCadence:
    """Chooses the steps after which a frame is told: every so many, or the first one after so many seconds."""

    def __init__(self, options: FrameOptions, *, now: float) -> None:
        """Take the options of a prepared request; with an interval, the first frame comes after the first step."""
        self._interval = None if options.interval is None else Interval(options.interval, now=now - options.interval)
        self._steps = options.every_steps or 0

    def takes(self, step: int, *, now: float) -> bool:
        """Tell whether the picture after this step is a frame."""
        if self._interval is None:
            return self._steps > 0 and step % self._steps == 0
        if not self._interval.passed(now=now):
            return False
        self._interval.restart(now=now)
        return True


class Speed:
    """Steps per second, over about the last three seconds."""

    def __init__(self, step: int, *, now: float) -> None:
        """Start counting at a step."""
        self._marks = deque([(now, step)])

    def mark(self, step: int, *, now: float) -> float:
        """Note a step and return the speed; 0 while it is not known."""
        self._marks.append((now, step))
        while len(self._marks) > 2 and now - self._marks[1][0] >= SPEED_SECONDS:
            self._marks.popleft()
        then, earlier = self._marks[0]
        return (step - earlier) / (now - then) if now > then else 0.0


class Thrift:
    """Keeps something that costs time to a share of all time, whoever does it."""

    def __init__(self, share: float, *, now: float) -> None:
        """Take the share, between 0 and 1; nothing was spent so far."""
        self._share = share
        self._next = now

    def allows(self, *, now: float) -> bool:
        """Tell whether it may be done."""
        return now >= self._next

    def spent(self, seconds: float, *, now: float) -> None:
        """Note that it was done and took so long until `now`."""
        self._next = now + seconds / self._share

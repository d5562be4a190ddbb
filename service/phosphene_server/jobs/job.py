"""One maximization: its state, its watchers, and when it ends for want of them."""

from collections.abc import Callable

from phosphene_server.errors import PhospheneError
from phosphene_server.jobs.audience import Audience
from phosphene_server.jobs.history import FrameHistory
from phosphene_server.jobs.watch import Watch
from phosphene_server.values.maximization import (
    Maximization,
    MaximizationAccepted,
    MaximizationEvent,
    MaximizationFrame,
    MaximizationProgress,
    MaximizationResult,
    MaximizationState,
    MaximizationWarning,
    MaximizeActivationRequest,
)


class Job:
    """A maximization as the front sees it.

    While it runs, somebody must watch it: when the last watcher has left and none has come within `linger` seconds, it
    is cancelled. The events of a job that was resumed from a checkpoint repeat some steps; watchers do not see those
    again.
    """

    def __init__(
        self,
        accepted: MaximizationAccepted,
        *,
        number: int,
        create_time: float,
        history_bytes: int,
        cancel: Callable[[], None],
    ) -> None:
        """Take what was accepted.

        Args:
            accepted: The first event.
            number: Counts the jobs of this service; newer ones have higher numbers.
            create_time: When it was accepted, in seconds since 1970.
            history_bytes: The most bytes of frames that are kept for late watchers.
            cancel: Asks the worker to end it.
        """
        self.number = number
        self.state: MaximizationState = "queued"
        self._accepted = accepted
        self.create_time = create_time
        self._cancel = cancel
        self._audience: Audience[MaximizationEvent] = Audience(linger=accepted.settings.linger, cancel=cancel)
        self._progress = MaximizationProgress(
            step=0, steps=accepted.settings.steps, queue_position=accepted.queue_position
        )
        self._history = FrameHistory(history_bytes)
        self._last_frame_step = -1
        self._result: MaximizationResult | None = None
        self._error: PhospheneError | None = None

    @property
    def job_id(self) -> str:
        """The id by which callers reach it."""
        return self._accepted.maximization_id

    @property
    def settings(self) -> MaximizeActivationRequest:
        """The request with every default filled in."""
        return self._accepted.settings

    @property
    def ended(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self._result is not None or self._error is not None

    @property
    def queue_position(self) -> int:
        """How many jobs the worker starts before it, as it last said; 0: it runs, or will at once."""
        return self._progress.queue_position

    @property
    def remaining_seconds(self) -> float | None:
        """The time left, as far as it is known."""
        return self._progress.remaining

    def describe(self) -> Maximization:
        """Return the job as GetMaximization shows it."""
        return Maximization(
            maximization_id=self.job_id,
            state=self.state,
            settings=self.settings,
            progress=self._progress,
            create_time=self.create_time,
            error=str(self._error) if self._error else "",
        )

    def watch(self, *, from_step: int | None = None) -> Watch:
        """Return a new watcher: `accepted`, the kept frames from a step on if asked for, what happens from now on."""
        watch = Watch(self._audience.leave)
        watch.push(self._accepted)
        if from_step is not None:
            watch.replay(self._history, from_step=from_step)
        if self._result is not None:
            watch.push(self._result)
        if self.ended:
            watch.end(self._error)
        else:
            self._audience.join(watch)
        return watch

    def cancel(self) -> bool:
        """Ask the worker to end it; return False when it had ended before."""
        if not self.ended:
            self._cancel()
        return not self.ended

    def progressed(self, progress: MaximizationProgress) -> None:
        """Take how far it is."""
        if progress.step >= self._progress.step:
            self._started(progress.step, progress.queue_position)
            self._progress = progress
            self._audience.tell(progress)

    def framed(self, frame: MaximizationFrame) -> None:
        """Take a frame."""
        if frame.step > self._last_frame_step:
            self._last_frame_step = frame.step
            self._started(frame.step, 0)
            self._history.append(frame)
            self._audience.tell(frame)

    def warned(self, warning: MaximizationWarning) -> None:
        """Take a warning."""
        self._audience.tell(warning)

    def finished(self, result: MaximizationResult) -> None:
        """Take the result."""
        self.state = "cancelled" if result.stop_reason == "cancelled" else "succeeded"
        self._result = result
        self._progress = MaximizationProgress(
            step=result.step, steps=self.settings.steps, objective=result.objective, remaining=0.0
        )
        self._audience.tell(result)
        self._audience.end()

    def failed(self, error: PhospheneError) -> None:
        """Take that it could not go on."""
        self.state = "failed"
        self._error = error
        self._audience.end(error)

    def forget(self) -> None:
        """Let go of the timer, for a job that is kept no longer."""
        self._audience.forget()

    def _started(self, step: int, queue_position: int) -> None:
        if step > 0 or queue_position == 0:
            self.state = "running"

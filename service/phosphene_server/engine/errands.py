"""Tasks that decode, draw and compress pictures: on threads beside the loop, which does only their arithmetic.

To compress a large picture takes longer than a step, and so does a large kernel on it. So an errand runs on a thread of
its own and hands what it needs the device for to the loop, in parts that are each done between two steps.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from phosphene_server.engine.failures import DeviceLost
from phosphene_server.values.image import EncodedImage, Image
from phosphene_server.values.work import ApplyKernel, BetweenSteps, Done, ExtractFilters, Task

ERRANDS = (ApplyKernel, ExtractFilters)
"""The tasks that are errands."""

LARGE_THREADS = 2
"""How many large errands run at once; the others wait. A picture of 12 megapixels needs up to a gigabyte meanwhile."""

SMALL_BYTES = 2**19
"""The size of the pictures of a request, as they come, up to which it is small: about two megapixels of a JPEG file.
Small errands have a thread for themselves, so that they do not wait for seconds behind large ones."""


def is_small(task: Task) -> bool:
    """Tell whether an errand has a thread that large ones do not take."""
    if not isinstance(task, ApplyKernel):
        return True
    return sum(_bytes(image) for image in task.request.images) <= SMALL_BYTES


def _bytes(image: Image) -> int:
    return len(image.data) if isinstance(image, EncodedImage) else image.tensor.nbytes


class LoopEnded(BaseException):
    """The loop does nothing more. No `Exception`, so that nobody takes it for a failure of the task."""


class Errands:
    """Runs errands. `begin` may be called on any thread, `between_steps` on any but that of the loop."""

    def __init__(
        self,
        line_up: Callable[[Callable[[], None]], None],
        *,
        on_loss: Callable[[DeviceLost], None],
        prepare_helper: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what errands need.

        Args:
            line_up: Has the loop call something between two steps.
            on_loss: Called on some thread when the device is lost.
            prepare_helper: Called first on each thread.
        """
        self._line_up = line_up
        self._on_loss = on_loss
        self._large = ThreadPoolExecutor(LARGE_THREADS, "errand", prepare_helper)
        self._small = ThreadPoolExecutor(1, "errand_small", prepare_helper)
        self._lock = threading.Lock()
        self._waiting: set[Future[Any]] = set()
        """Stand for the parts that the loop has not done yet."""
        self._closed = False

    def begin(self, errand: Callable[[BetweenSteps], None], *, small: bool) -> None:
        """Run an errand after those of its size that came before, unless the loop has ended; it tells its outcome."""
        with self._lock:
            if not self._closed:
                (self._small if small else self._large).submit(self._run, errand)

    def between_steps(self, work: Callable[[], Done], /) -> Done:
        """Have the loop do a part of an errand. Implements `BetweenSteps`.

        Raises:
            LoopEnded: it will not do it.
        """
        part: Future[Done] = Future()
        with self._lock:
            if self._closed:
                raise LoopEnded
            self._waiting.add(part)
        self._line_up(lambda: self._do(work, part))
        return part.result()

    def close(self) -> None:
        """End the errands, when the loop has ended, at their next part."""
        with self._lock:
            self._closed = True
            for threads in (self._small, self._large):
                threads.shutdown(wait=False, cancel_futures=True)
            for part in self._waiting:
                part.set_exception(LoopEnded())

    def _run(self, errand: Callable[[BetweenSteps], None]) -> None:
        try:
            errand(self.between_steps)
        except DeviceLost as error:
            self._on_loss(error)
        except LoopEnded:
            return

    def _do(self, work: Callable[[], Done], part: "Future[Done]") -> None:
        with self._lock:
            self._waiting.remove(part)
        try:
            part.set_result(work())
        except Exception as error:
            part.set_exception(error)

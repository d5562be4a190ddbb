"""Models are loaded beside the loop, so that running jobs are not held up.

One thread loads one model after the other. Whatever needs a model that is not there waits for it, and everything else
goes on. When the model is there, those that waited are called in the loop, in the order in which they came, and the
model is held until all of them have been: whoever holds it then finds it there however many others are loaded. When it
could not be loaded, each hears the error, and whoever comes later tries anew. Unloading a model that is just being
loaded comes after those who wait for it.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from phosphene_server.engine.failures import DeviceLost
from phosphene_server.values.model import ModelReference
from phosphene_server.values.work import ModelSource

Then = Callable[[Exception | None], None]
"""Is called in the loop when a model is there, or with what its loading raised."""


class Models(Protocol):
    """Holds models; safe on several threads."""

    @property
    def size_bytes(self) -> int:
        """The memory that they take."""

    def has(self, source: ModelSource) -> bool:
        """Tell whether a model is there."""

    def hold(self, source: ModelSource) -> object:
        """Load a model if needed and keep it until `release`.

        Raises:
            PhospheneError: it cannot be loaded.
        """

    def hold_if_there(self, source: ModelSource) -> bool:
        """Keep a model until `release` if it is there; return whether it is."""

    def release(self, source: ModelSource) -> None:
        """End one `hold`."""

    def drop_idle(self, size_bytes: int, *, keep: ModelSource) -> None:
        """Drop models that nobody holds but this one, until so much memory is free or none is left to drop."""


class ModelLoads:
    """Has models loaded on a thread of its own. All public methods are called in the loop."""

    def __init__(
        self, models: Models, post: Callable[[Callable[[], None]], None], *, after: Callable[[], None]
    ) -> None:
        """Take the models, what lets the loop call a function, and what the loop calls after each load."""
        self._models = models
        self._post = post
        self._after = after
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loads")
        self._waiting: dict[tuple[ModelReference, str], list[Then]] = {}

    @property
    def busy(self) -> bool:
        """Whether a model is being loaded."""
        return bool(self._waiting)

    def when_loaded(self, source: ModelSource, then: Then) -> None:
        """Call `then` as soon as a model is there: now if it is."""
        key = source.reference, source.sha256
        if key in self._waiting:
            self._waiting[key].append(then)
        elif self._models.has(source):
            then(None)
        else:
            self._waiting[key] = [then]
            self._thread.submit(self._load, source)

    def when_settled(self, reference: ModelReference, then: Callable[[], None]) -> None:
        """Call `then` after those who wait for a model of this reference: now if there are none."""
        for (other, _), waiting in self._waiting.items():
            if other == reference:
                waiting.append(lambda _: then())
                return
        then()

    def close(self) -> None:
        """Begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _load(self, source: ModelSource) -> None:
        error: Exception | None = None
        try:
            # On a thread that ends with the load: the threads of OpenMP that it computes with would otherwise stay, and
            # as soon as there are more of these than cores, libgomp lets each of them sleep wherever it waits. A
            # step of GoogLeNet took 37 ms instead of 28.
            with ThreadPoolExecutor(1, thread_name_prefix="load") as short_lived:
                short_lived.submit(self._models.hold, source).result()
        except Exception as raised:
            error = raised
        self._post(partial(self._loaded, source, error))

    def _loaded(self, source: ModelSource, error: Exception | None) -> None:
        if isinstance(error, DeviceLost):
            raise error
        for then in self._waiting.pop((source.reference, source.sha256)):
            then(error)
        if error is None:
            self._models.release(source)
        self._after()

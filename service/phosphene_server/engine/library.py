"""The models that a worker holds."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from phosphene_server.errors import ModelBusy
from phosphene_server.values.model import ModelReference
from phosphene_server.values.work import ModelSource

Loaded = TypeVar("Loaded")

Key = tuple[ModelReference, str]
"""What a model is kept under: its reference and the SHA-256 of its file."""


class ModelLibrary(Generic[Loaded]):
    """Loads models when they are asked for and keeps those that were used last. May be used on several threads.

    A model that a job holds is never dropped, so there may be more than `limit` while more than `limit` are held.
    A file that was replaced under the same name is another model.
    """

    def __init__(
        self,
        load: Callable[[ModelSource], Loaded],
        *,
        limit: int,
        size_bytes: Callable[[Loaded], int] = lambda _: 0,
    ) -> None:
        """Take what loads a model, how many are kept, and what tells the memory that one takes."""
        self._load = load
        self._limit = limit
        self._size_bytes = size_bytes
        self._lock = threading.Lock()
        """Never held while a model is loaded."""
        self._models: OrderedDict[Key, Loaded] = OrderedDict()
        """The one that was used least recently comes first."""
        self._sizes: dict[Key, int] = {}
        self._holds: Counter[Key] = Counter()

    @property
    def size_bytes(self) -> int:
        """The memory that all models take together."""
        with self._lock:
            return sum(self._sizes.values())

    def has(self, source: ModelSource) -> bool:
        """Tell whether `get` would return at once."""
        with self._lock:
            return _key(source) in self._models

    def get(self, source: ModelSource) -> Loaded:
        """Return a model, loaded if needed.

        Raises:
            PhospheneError: what loading raised.
        """
        return self._get(source, holds=0)

    def hold_if_there(self, source: ModelSource) -> bool:
        """Keep a model until `release` if `get` would return at once; return whether it is so."""
        with self._lock:
            key = _key(source)
            if key not in self._models:
                return False
            self._use(key, holds=1)
            return True

    def hold(self, source: ModelSource) -> Loaded:
        """Return a model as `get` does and keep it until `release`."""
        return self._get(source, holds=1)

    def release(self, source: ModelSource) -> None:
        """End one `hold`."""
        with self._lock:
            self._holds[_key(source)] -= 1
            self._holds += Counter()  # forgets those that nobody holds

    def unload(self, reference: ModelReference) -> bool:
        """Drop a model, whatever its file was. Returns whether it was loaded.

        Raises:
            ModelBusy: a job holds it.
        """
        with self._lock:
            keys = [key for key in self._models if key[0] == reference]
            if any(key in self._holds for key in keys):
                raise ModelBusy(reference.name)
            for key in keys:
                self._drop(key)
            return bool(keys)

    def drop_idle(self, size_bytes: int, *, keep: ModelSource) -> None:
        """Drop models that nobody holds but this one, until so much memory is free or none is left to drop."""
        with self._lock:
            for key in self._idle():
                if size_bytes <= 0:
                    return
                if key != _key(keep):
                    size_bytes -= self._sizes[key]
                    self._drop(key)

    def _get(self, source: ModelSource, *, holds: int) -> Loaded:
        key = _key(source)
        with self._lock:
            if key not in self._models:
                self._make_room()
            else:
                return self._use(key, holds)
        model = self._load(source)
        with self._lock:
            self._models[key] = model
            self._sizes[key] = self._size_bytes(model)
            return self._use(key, holds)

    def _use(self, key: Key, holds: int) -> Loaded:
        self._models.move_to_end(key)
        self._holds[key] += holds
        self._holds += Counter()
        return self._models[key]

    def _make_room(self) -> None:
        """Drop what was used least recently, before the next model needs the memory."""
        for key in self._idle():
            if len(self._models) < self._limit:
                return
            self._drop(key)

    def _idle(self) -> list[Key]:
        """Return the models that nobody holds; the one that was used least recently comes first."""
        return [key for key in self._models if key not in self._holds]

    def _drop(self, key: Key) -> None:
        del self._models[key]
        del self._sizes[key]


def _key(source: ModelSource) -> Key:
    return source.reference, source.sha256

"""The models that a worker holds."""

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
    """Loads models when they are asked for and keeps those that were used last.

    A model that a job holds is never dropped, so there may be more than `limit` while more than `limit` are held.
    A file that was replaced under the same name is another model.
    """

    def __init__(self, load: Callable[[ModelSource], Loaded], *, limit: int) -> None:
        self._load = load
        self._limit = limit
        self._models: OrderedDict[Key, Loaded] = OrderedDict()
        """The one that was used least recently comes first."""
        self._holds: Counter[Key] = Counter()

    def get(self, source: ModelSource) -> Loaded:
        """Return a model, loaded if needed.

        Raises:
            PhospheneError: what loading raised.
        """
        key = _key(source)
        if key not in self._models:
            self._make_room()
            self._models[key] = self._load(source)
        self._models.move_to_end(key)
        return self._models[key]

    def hold(self, source: ModelSource) -> Loaded:
        """Return a model as `get` does and keep it until `release`."""
        model = self.get(source)
        self._holds[_key(source)] += 1
        return model

    def release(self, source: ModelSource) -> None:
        """End one `hold`."""
        self._holds[_key(source)] -= 1
        self._holds += Counter()  # forgets those that nobody holds

    def unload(self, reference: ModelReference) -> bool:
        """Drop a model, whatever its file was. Returns whether it was loaded.

        Raises:
            ModelBusy: a job holds it.
        """
        keys = [key for key in self._models if key[0] == reference]
        if any(key in self._holds for key in keys):
            raise ModelBusy(reference.name)
        for key in keys:
            del self._models[key]
        return bool(keys)

    def _make_room(self) -> None:
        """Drop what was used least recently, before the next model needs the memory."""
        for key in [key for key in self._models if key not in self._holds]:
            if len(self._models) < self._limit:
                return
            del self._models[key]


def _key(source: ModelSource) -> Key:
    return source.reference, source.sha256

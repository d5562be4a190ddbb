"""Which models the worker holds, as far as the front can tell."""

from collections import OrderedDict

from phosphene_server.values.model import ModelReference


class LoadedModels:
    """Mirrors the worker's memory: every model that was used, without those that it must have given up since.

    A worker that was started anew holds less than this says, until the models are used again.
    """

    def __init__(self, limit: int) -> None:
        """Take how many models the worker holds at most."""
        self._limit = limit
        self._used: OrderedDict[ModelReference, None] = OrderedDict()

    def used(self, reference: ModelReference) -> None:
        """Note that the worker has used a model; the one that was used least recently goes."""
        self._used[reference] = None
        self._used.move_to_end(reference)
        while len(self._used) > self._limit:
            self._used.popitem(last=False)

    def unloaded(self, reference: ModelReference) -> None:
        """Note that the worker has forgotten a model."""
        self._used.pop(reference, None)

    def holds(self, name: str, version: str) -> bool:
        """Tell whether a version of a model is held in one of its formats."""
        return any((reference.name, reference.version) == (name, version) for reference in self._used)

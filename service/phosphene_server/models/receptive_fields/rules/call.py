"""One aten operation that ran, as a rule reads it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from phosphene_server.models.receptive_fields.sight import Sight


@dataclass(frozen=True)
class Call:
    """An operation, its arguments and its results."""

    arguments: Mapping[str, Any]
    """By the names of the operator's schema, defaults included."""
    results: Sequence[Tensor]
    find: Callable[[Tensor], Sight]
    """Tells what a tensor sees."""

    def __getitem__(self, name: str) -> Any:
        """Return an argument."""
        return self.arguments[name]

    def sight(self, name: str) -> Sight:
        """Return what an argument that is a tensor sees."""
        return self.find(self.arguments[name])

    def tensors(self) -> list[Tensor]:
        """Return all tensors among the arguments, also those in lists."""
        found: list[Tensor] = []
        for value in self.arguments.values():
            for item in value if isinstance(value, list | tuple) else (value,):
                if isinstance(item, Tensor):
                    found.append(item)
        return found

    def sights(self) -> list[Sight]:
        """Return what all tensors among the arguments see."""
        return [self.find(tensor) for tensor in self.tensors()]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first result."""
        return tuple(self.results[0].shape)


Rule = Callable[[Call], Sight | Sequence[Sight]]
"""Tells what the results see. One sight is that of all results of its shape."""

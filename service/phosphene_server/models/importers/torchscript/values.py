"""The values that a TorchScript program computes with: variables, numbers, containers, modules and objects.

Numbers are Python's, or nodes where they depend on an input. Lists and dictionaries are Python's own, since their
identity matters to a program: what one function appends, another one sees.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from phosphene_server.models.importers.aten.shapes import Several
from phosphene_server.models.importers.aten.variables import Variable


@dataclass(frozen=True)
class ModuleReference:
    """A module of the file, and how the author's attributes lead to it."""

    path: str
    """`layer1.0.conv1`; empty for the model itself."""
    scope: str
    """The layer name of the call that is running in it: the path, with `@1` and so on when it is called again."""
    module: Any
    """The torch.ScriptModule."""


@dataclass(frozen=True, eq=False)
class ObjectReference:
    """An instance of a class of the author's that is no module."""

    class_name: str
    attributes: dict[str, Any] = field(default_factory=dict)


class Unknown:
    """The value of an operator that is missing from the table; what is computed from it is unknown too."""


UNKNOWN = Unknown()


def parts(value: Any) -> list[Any]:
    """Return what a container holds; nothing for what is no container."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, ObjectReference):
        return list(value.attributes.values())
    if isinstance(value, Several):
        return list(value.parts.values())
    return list(value) if isinstance(value, list | tuple) else []


def walk(value: Any) -> Iterator[Any]:
    """Yield a value and everything inside of it, each thing once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting.extend(reversed(parts(each)))


def is_unknown(value: Any) -> bool:
    """Whether a value is unknown, or a container of something unknown."""
    if isinstance(value, list | tuple | dict):
        return any(each is UNKNOWN for each in walk(value))
    return value is UNKNOWN


def first_tensor(value: Any) -> Variable | None:
    """Return the first tensor in a value, None where there is none."""
    if isinstance(value, dict | list | tuple | Variable):
        return next((each for each in walk(value) if isinstance(each, Variable)), None)
    return None

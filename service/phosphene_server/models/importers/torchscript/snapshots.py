"""What a program has in its hands at one moment, so that another branch can start from there once more."""

from collections.abc import Iterable
from typing import Any

from torch import fx

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.aten.shapes import Several
from phosphene_server.models.importers.aten.variables import State, Variable
from phosphene_server.models.importers.torchscript.values import ObjectReference, walk


class Snapshot:
    """The state of all variables and containers that can be reached from some values."""

    def __init__(self, values: Iterable[Any]) -> None:
        """Take the values: those of all calls that are running, and of the modules' attributes."""
        self._variables: dict[Variable, State] = {}
        self._containers: dict[int, tuple[Any, Any]] = {}
        """Lists and dictionaries with copies of what they held, by identity."""
        self._divisions: list[tuple[Several, dict[int, Any]]] = []
        for each in walk(list(values)):
            if isinstance(each, Variable):
                self._keep(each)
            elif isinstance(each, ObjectReference):
                self._containers[id(each.attributes)] = each.attributes, dict(each.attributes)
            elif isinstance(each, Several):
                self._divisions.append((each, dict(each.parts)))
            elif isinstance(each, list | dict):
                self._containers[id(each)] = each, each.copy()

    def has(self, thing: Any) -> bool:
        """Whether a variable or container existed; a view exists with what it is a view of."""
        if isinstance(thing, Variable):
            return thing in self._variables or (thing.base is not None and self.has(thing.base))
        return id(thing) in self._containers

    def restore(self) -> None:
        """Make everything what it was."""
        for variable, state in self._variables.items():
            variable.restore(state)
        for container, copy in self._containers.values():
            replace_contents(container, copy)
        for several, parts in self._divisions:
            several.parts = dict(parts)

    def node(self, variable: Variable) -> fx.Node:
        """Return the node that a variable pointed at.

        Raises:
            UnsupportedModel: that was out of date: what it is a view of had been overwritten.
        """
        node, _, seen, _ = self._variables[variable]
        if variable.base is not None and seen != self._variables[variable.base][1]:
            raise UnsupportedModel("", "a branch keeps a view of what was overwritten before it")
        return node

    def contents(self, container: Any) -> Any:
        """Return what a container held."""
        return self._containers[id(container)][1]

    def overwritten(self) -> list[Variable]:
        """Return the variables whose memory was written to; not their views, which follow them."""
        return [
            variable
            for variable, (node, _, _, lost) in self._variables.items()
            if variable.base is None and (variable.state[0] is not node or variable.state[3] != lost)
        ]

    def changed(self) -> list[Any]:
        """Return the containers that hold other things than before."""
        return [container for container, copy in self._containers.values() if not _holds_the_same(container, copy)]

    def _keep(self, variable: Variable | None) -> None:
        while variable is not None and variable not in self._variables:
            self._variables[variable] = variable.state
            variable = variable.base


def replace_contents(container: Any, contents: Any) -> None:
    """Make a list or dictionary hold other things, without making it another one."""
    if isinstance(container, dict):
        container.clear()
        container.update(contents)
    else:
        container[:] = contents


def _holds_the_same(container: Any, copy: Any) -> bool:
    if isinstance(container, dict):
        return list(container) == list(copy) and all(container[key] is copy[key] for key in copy)
    return len(container) == len(copy) and all(one is other for one, other in zip(container, copy, strict=True))

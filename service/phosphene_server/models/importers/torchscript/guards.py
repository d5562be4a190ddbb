"""Guards: what came of a decision that the example made is tied to a check that the decision is still the same."""

from collections.abc import Iterable
from typing import Any

from torch import fx

from phosphene_server.errors import InvalidArgument, UnsupportedModel
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.shapes import Several
from phosphene_server.models.importers.aten.variables import Variable
from phosphene_server.models.importers.torchscript.snapshots import replace_contents


class Guard:
    """A condition, and what the example decided about it."""

    def __init__(self, program: Program, condition: Any, expected: bool) -> None:
        """Take a number or tensor that decides, and what it is for the example."""
        self._emit = program.emit
        self._condition = condition
        self._expected = expected

    def tie(self, value: Any) -> Any:
        """Return a value that can be had only where the condition is as expected.

        Raises:
            UnsupportedModel: it is neither a tensor nor a number nor a container of those.
        """
        if isinstance(value, Variable):
            # It shares the memory of what it guards.
            return Variable(
                self._check(value.read()),
                base=value,
                replay=self._check,
                inverse=lambda old, new: new,
                operator="a branch",
            )
        if isinstance(value, int | float) or self._emit.is_open(value):
            return self._emit.number(same_branch, value, self._condition, self._expected)
        if isinstance(value, list | dict):
            self._tie_contents(value)
            return value
        if isinstance(value, tuple):
            return tuple(self.tie(part) for part in value)
        if isinstance(value, Several):
            return Several(self._check(value.node))
        raise UnsupportedModel("", f"whether it has a tensor or {value!r} depends on the size of the input")

    def tie_effects(self, variables: Iterable[Variable], containers: Iterable[Any]) -> None:
        """Tie what was overwritten."""
        for variable in variables:
            variable.write(self._check(variable.read()))
        for container in containers:
            self._tie_contents(container)

    def _tie_contents(self, container: Any) -> None:
        if isinstance(container, dict):
            replace_contents(container, {key: self.tie(part) for key, part in container.items()})
        else:
            replace_contents(container, [self.tie(part) for part in container])

    def _check(self, node: fx.Node) -> fx.Node:
        return self._emit.call(same_branch, node, self._condition, self._expected)


def same_branch(value: Any, condition: bool, expected: bool) -> Any:
    """Return `value` if the model would still take the branch that was imported.

    Raises:
        InvalidArgument: for this size of input it would take the other.
    """
    if bool(condition) != expected:
        raise InvalidArgument(
            "size", "this input size", "a size for which the scripted model takes the imported branch"
        )
    return value

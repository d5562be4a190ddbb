"""Brings together what two branches leave behind: where they differ, the graph chooses."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.variables import Choice, Variable
from phosphene_server.models.importers.torchscript.snapshots import Snapshot
from phosphene_server.models.importers.torchscript.values import UNKNOWN, is_unknown


@dataclass(frozen=True)
class TensorValue:
    """A variable and what it held at the end of its branch."""

    variable: Variable
    node: fx.Node


@dataclass(frozen=True)
class Slot:
    """A place in a result that a value of the choice fills."""

    index: int


@dataclass
class Outcome:
    """What a branch leaves behind."""

    live: list[Any]
    """Its results."""
    results: list[Any]
    """Its results, with the variables in them as they were at its end."""
    variables: dict[Variable, Any] = field(default_factory=dict)
    """What it wrote to variables that existed before: nodes, or the operators that overwrote them unseen."""
    containers: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    """Containers that existed before and what they hold now, by identity."""
    region: list[fx.Node] = field(default_factory=list)
    """The operations that were written in it."""

    def written(self, other: "Outcome") -> list[Variable]:
        """Return the variables that this branch or another one wrote to."""
        return list(dict.fromkeys([*self.variables, *other.variables]))

    def changed(self, other: "Outcome") -> list[Any]:
        """Return the containers that this branch or another one changed."""
        return [container for container, _ in {**other.containers, **self.containers}.values()]


def observe(results: list[Any], snapshot: Snapshot) -> Outcome:
    """Return what a branch leaves behind that has just run."""
    outcome = Outcome(results, [hold(value, snapshot) for value in results])
    for variable in snapshot.overwritten():
        node, _, _, lost = variable.state
        outcome.variables[variable] = lost or node
    for container in snapshot.changed():
        outcome.containers[id(container)] = container, _hold_parts(container, snapshot)
    return outcome


def hold(value: Any, snapshot: Snapshot) -> Any:
    """Return a value with the variables in it as they are now; containers that existed before stand for themselves."""
    if isinstance(value, Variable):
        return TensorValue(value, value.read())
    if isinstance(value, list | tuple | dict) and not snapshot.has(value):
        return _hold_parts(value, snapshot)
    return value


def _hold_parts(value: Any, snapshot: Snapshot) -> Any:
    if isinstance(value, dict):
        return {key: hold(part, snapshot) for key, part in value.items()}
    return type(value)(hold(part, snapshot) for part in value)


class Merging:
    """Pairs the values of two branches."""

    def __init__(self, emit: Emitter, snapshot: Snapshot) -> None:
        self._emit = emit
        self._snapshot = snapshot
        self.pairs: list[tuple[Any, Any]] = []
        """What the choice gives: TensorValues or numbers, of the first and of the second branch."""
        self.choice: fx.Node | None = None
        """The node that gives them."""

    def merge(self, first: Any, second: Any) -> Any:
        """Return what stands for both values; what differs in them is a Slot.

        Raises:
            UnsupportedModel: they are not alike.
        """
        if is_unknown(first) or is_unknown(second):
            return UNKNOWN
        if first is second or (isinstance(first, TensorValue) and first == second):
            return first
        if isinstance(first, TensorValue) and isinstance(second, TensorValue):
            one = first.variable is second.variable and self._snapshot.has(first.variable)
            return first if one else self._slot(first, second)  # What it holds is a matter of who wrote to it.
        if self._is_number(first) and self._is_number(second):
            same = type(first) is type(second) and first == second
            return first if same else self._slot(first, second)
        if type(first) is type(second) and isinstance(first, list | tuple | dict) and self._alike(first, second):
            if isinstance(first, dict):
                return {key: self.merge(first[key], second[key]) for key in first}
            return type(first)(self.merge(one, other) for one, other in zip(first, second, strict=True))
        if not isinstance(first, TensorValue) and type(first) is type(second) and first == second:
            return first
        raise UnsupportedModel("", f"one branch gives {_describe(first)}, the other {_describe(second)}")

    def examples(self, preferred: int | None) -> list[Any]:
        """Return what the chosen values look like; `preferred`: the branch that the example takes, None: unknown."""
        return [self._example(pair, preferred) for pair in self.pairs]

    def outputs(self, branch: int) -> list[Any]:
        """Return the nodes and numbers that a branch gives."""
        return [getattr(pair[branch], "node", pair[branch]) for pair in self.pairs]

    def merge_memory(self, variable: Variable, first: Outcome, second: Outcome) -> Any:
        """Return what stands for what two branches wrote to a variable, one of them maybe nothing."""
        before = self._snapshot.node(variable)
        one, other = first.variables.get(variable, before), second.variables.get(variable, before)
        lost = next((each for each in (one, other) if isinstance(each, str)), None)
        return lost or self._slot(TensorValue(variable, one), TensorValue(variable, other))

    def merge_contents(self, container: Any, first: Outcome, second: Outcome) -> Any:
        """Return what stands for what a container holds after two branches."""
        sides = [
            side.containers[id(container)][1] if id(container) in side.containers else self._contents(container)
            for side in (first, second)
        ]
        if not self._alike(*sides):
            raise UnsupportedModel("", "two branches leave different numbers of things in a list")
        if isinstance(container, dict):
            return {key: self.merge(sides[0][key], sides[1][key]) for key in sides[0]}
        return [self.merge(one, other) for one, other in zip(*sides, strict=True)]

    def write(self, variable: Variable, merged: Any) -> None:
        """Write to a variable what the choice gives."""
        if isinstance(merged, Slot):
            variable.write(self._take(merged.index))
        else:
            variable.lose(merged)

    def fill(self, merged: Any) -> Any:
        """Return a merged value with the values of the choice in it."""
        if isinstance(merged, Slot):
            return self._fill_slot(merged.index)
        if isinstance(merged, TensorValue):
            return merged.variable
        if isinstance(merged, list | tuple | dict) and not self._snapshot.has(merged):
            if isinstance(merged, dict):
                return {key: self.fill(part) for key, part in merged.items()}
            return type(merged)(self.fill(part) for part in merged)
        return merged

    def _fill_slot(self, index: int) -> Any:
        node, pair = self._take(index), self.pairs[index]
        if not isinstance(pair[0], TensorValue):
            return node
        older = [side.variable for side in pair if self._snapshot.has(side.variable)]
        return Choice(node, older) if older else Variable(node)

    def _take(self, index: int) -> fx.Node:
        assert self.choice is not None
        number = not isinstance(self.pairs[index][0], TensorValue)
        return self._emit.item_number(self.choice, index) if number else self._emit.item(self.choice, index)

    def _contents(self, container: Any) -> Any:
        """Return what a container held before the branches."""
        copy = self._snapshot.contents(container)

        def held(part: Any) -> Any:
            return TensorValue(part, self._snapshot.node(part)) if isinstance(part, Variable) else part

        return {key: held(part) for key, part in copy.items()} if isinstance(copy, dict) else [held(p) for p in copy]

    def _slot(self, first: Any, second: Any) -> Slot:
        self.pairs.append((first, second))
        return Slot(len(self.pairs) - 1)

    def _alike(self, first: Any, second: Any) -> bool:
        if self._snapshot.has(first) or self._snapshot.has(second):
            return False  # Which of two lists it is matters to whoever appends to it.
        return list(first) == list(second) if isinstance(first, dict) else len(first) == len(second)

    def _is_number(self, value: Any) -> bool:
        return isinstance(value, bool | int | float) or self._emit.is_open(value)

    def _example(self, pair: tuple[Any, Any], preferred: int | None) -> Any:
        one, other = (self._emit.example(getattr(side, "node", side)) for side in pair)
        if preferred is not None:
            return (one, other)[preferred]
        alike = isinstance(one, Tensor) and isinstance(other, Tensor)
        alike = alike and one.shape == other.shape and one.dtype == other.dtype
        return torch.empty_like(one, device="meta") if alike else None


def _describe(value: Any) -> str:
    if isinstance(value, TensorValue | Variable):
        return "a tensor"
    if isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} of {len(value)}"
    return repr(value) if isinstance(value, str | int | float | bool | None) else "something else"

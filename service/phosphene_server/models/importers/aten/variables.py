"""Tensor variables: what lets a program that overwrites its tensors become a graph that does not.

In the author's program a name stands for memory. After `y = x[:, 0]` a write to `y` changes `x`, and a write to `x`
changes `y`. In the graph every node is a value that never changes, so a name becomes a Variable, which points at the
node that is its value now; a write points it, and through it all that share its memory, at new nodes. A node that was
read as somebody's activation stays what it was.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import fx

from phosphene_server.errors import UnsupportedModel

Replay = Callable[[fx.Node], fx.Node]
"""Writes a view once more, of the new value of what it is a view of."""
State = tuple[fx.Node, int, int, str]
"""The node, how often it changed, the version of the base that was seen, and the operator that overwrote it unseen."""
Inverse = Callable[[fx.Node, fx.Node], fx.Node]
"""Writes the new value of what was viewed, from its old value and the new value of the view."""


class Variable:
    """A name for memory: a value of its own, or a view of another variable."""

    def __init__(
        self,
        node: fx.Node,
        *,
        base: "Variable | None" = None,
        replay: Replay | None = None,
        inverse: Inverse | None = None,
        operator: str = "",
        seen: int | None = None,
    ) -> None:
        """Point at a node.

        `operator` names the one that made the view, for messages; `seen` is the version of `base` that the node is a
        view of, the present one where it is None.
        """
        self._node = node
        self._base = base
        self._replay = replay
        self._inverse = inverse
        self._operator = operator
        self._version = 0
        self._base_version = seen if seen is not None else base._version if base is not None else 0
        self._lost = ""

    @property
    def version(self) -> int:
        """How often its value has changed."""
        return self._version

    @property
    def base(self) -> "Variable | None":
        """What it is a view of."""
        return self._base

    @property
    def state(self) -> State:
        """What `restore` needs to make it what it is now."""
        return self._node, self._version, self._base_version, self._lost

    def restore(self, state: State) -> None:
        """Forget what happened since it had that state."""
        self._node, self._version, self._base_version, self._lost = state

    def lose(self, operator: str) -> None:
        """Note that it was overwritten by an operator in a way that cannot be written down."""
        # Not an error yet: most programs never look at the whole again.
        self._lost = operator
        self._version += 1

    def read(self) -> fx.Node:
        """Return the node that is the value now.

        Raises:
            UnsupportedModel: it was overwritten through a view whose effect on it cannot be written down.
        """
        self._refresh()
        if self._lost:
            raise UnsupportedModel("", f"it reads a tensor after overwriting it through a view made by {self._lost}")
        return self._node

    def write(self, node: fx.Node) -> None:
        """Overwrite the memory: this variable, what it views, and all views of that."""
        base = self._base
        if base is not None:
            base._overwrite_through(self, node)
        self._node = node
        self._version += 1
        self._base_version = base._version if base is not None else 0

    def _overwrite_through(self, view: "Variable", node: fx.Node) -> None:
        if view._inverse is None:
            self.lose(view._operator)
        else:
            self.write(view._inverse(self.read(), node))

    def _refresh(self) -> None:
        if self._base is None:
            return
        self._base._refresh()
        if self._base_version != self._base._version and self._replay is not None:
            self._node = self._replay(self._base.read())
            self._base_version = self._base._version
            self._version += 1


class Choice(Variable):
    """One of several variables; which of them, only an evaluation of the graph decides."""

    def __init__(self, node: fx.Node, candidates: Sequence[Variable]) -> None:
        """Take the node that chooses, and the variables that existed before and may be what it chose."""
        super().__init__(node, operator="a branch")
        self._candidates = candidates
        self._seen = [candidate.version for candidate in candidates]

    def write(self, node: fx.Node) -> None:
        """Overwrite the memory, and with it that of an unknown one of the candidates."""
        for candidate in self._candidates:
            candidate.lose("a branch")
        self._seen = [candidate.version for candidate in self._candidates]
        super().write(node)

    def _refresh(self) -> None:
        for candidate, seen in zip(self._candidates, self._seen, strict=True):
            candidate._refresh()
            if candidate.version != seen:
                raise UnsupportedModel("", "it reads what a branch chose after overwriting what it chose from")


def read_all(value: Any) -> Any:
    """Return a structure of lists and tuples with every variable replaced by its node."""
    if isinstance(value, Variable):
        return value.read()
    if isinstance(value, list | tuple):
        return type(value)(read_all(part) for part in value)
    return value

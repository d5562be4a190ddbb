"""Which nodes are the values of which modules: the rows of the layer table."""

from dataclasses import dataclass
from typing import Any

from torch import fx

from phosphene_server.models.builder import KIND
from phosphene_server.models.importers.aten.emitter import Emitter


@dataclass(frozen=True)
class Operation:
    """An operation that ran in a module."""

    kind: str
    node: fx.Node

    @property
    def parameters(self) -> tuple[str, ...]:
        """The trained tensors that it takes directly."""
        return tuple(str(source.target) for source in self.node.all_input_nodes if source.op == "get_attr")


class LayerRecorder:
    """Collects module calls and the operations in them.

    A module that is called again gets another name, as torch.export gives it: `relu`, `relu@1`, `relu@2`.
    """

    def __init__(self, emit: Emitter) -> None:
        self._emit = emit
        self._operations: dict[str, list[Operation]] = {}
        self._values: dict[str, fx.Node] = {}
        self._parents: set[str] = set()
        self._calls: dict[str, int] = {}

    def next_name(self, path: str) -> str:
        """Return the name of the next call of the module at `path`."""
        count = self._calls.get(path, 0)
        self._calls[path] = count + 1
        return f"{path}@{count}" if count else path

    def operation(self, scope: str, kind: str, node: fx.Node) -> None:
        """Note that an operation of a kind ran in a module call and gave a node."""
        self._operations.setdefault(scope, []).append(Operation(kind, node))
        node.meta.setdefault(KIND, kind)

    def module(self, name: str, node: fx.Node, *, parent: str) -> None:
        """Note the value of a module call, and the module call that it was made in (the model itself: "")."""
        self._parents.add(parent)
        if name:
            self._values[name] = node

    def save(self) -> Any:
        """Return what `restore` needs to forget the operations and calls that come from now on."""
        operations = {scope: list(found) for scope, found in self._operations.items()}
        return operations, dict(self._values), set(self._parents)

    def restore(self, saved: Any) -> None:
        """Forget operations and calls; only the numbers of calls are remembered."""
        operations, values, parents = saved
        self._operations = {scope: list(found) for scope, found in operations.items()}
        self._values = dict(values)
        self._parents = set(parents)

    @property
    def nodes(self) -> set[fx.Node]:
        """The nodes that have names."""
        return set(self._values.values())

    def write(self) -> None:
        """Fill the layer table of the graph."""
        if not self._values:
            self._name_operations()
        for name, node in self._values.items():
            self._write_row(name, node)

    def _name_operations(self) -> None:
        """Make every operation a layer, named by what it computes: `convolution`, `convolution@1`.

        A file that was frozen has no modules any more.
        """
        operations = self._operations.pop("", [])
        for operation in operations:
            if operation.kind and (operation.node.users or operation is operations[-1]):
                name = self.next_name(operation.kind)
                self._operations[name] = [operation]
                self._values[name] = operation.node

    def _write_row(self, name: str, node: fx.Node) -> None:
        operations = self._operations.get(name, [])
        main = None if name in self._parents else _main_operation(operations, node)
        kind = main.kind if main else "module" if operations or name in self._parents else "identity"
        parameters = dict.fromkeys(parameter for operation in operations for parameter in operation.parameters)
        filters = self._emit.filters.get(node) if main else None
        self._emit.builder.layer(name, kind, node, parameters=tuple(parameters), filters=filters)


def _main_operation(operations: list[Operation], node: fx.Node) -> Operation | None:
    """Return the operation that a module without parts is about, None where it is about several."""
    # What nobody uses is no part of the graph, for example the transposed weight of an older linear layer.
    used = [operation for operation in operations if operation.node is node or operation.node.users]
    candidates = [operation for operation in used if operation.parameters] or used
    return candidates[0] if len(candidates) == 1 and candidates[0].node is node else None

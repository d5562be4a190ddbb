"""A copy of a cut graph that passes rewrite until it is as fast as we can make it."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from torch import Tensor, fx, nn

from phosphene_server.models.graph import CutGraph

Derived = TypeVar("Derived")


@dataclass(frozen=True, eq=False)
class Derivation:
    """Something that was made of tensors or modules of a model."""

    sources: Sequence[object]
    """What it was made of, kept so that nothing else gets their identity."""
    made: Any


class Derivations:
    """What was made of the tensors of a model: arranged, folded or rounded ones, once for all its lowered graphs.

    They are the price of speed: a second copy of a folded or rounded weight, and one arranged copy for each direction.
    Each goes with the last graph that uses it.
    """

    def __init__(self) -> None:
        self._known: WeakValueDictionary[Hashable, Derivation] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, kind: str, sources: Sequence[object], make: Callable[[], object], *settings: Hashable) -> Derivation:
        """Return what is made of some objects; it is made where no graph has it."""
        key = (kind, *map(id, sources), *settings)
        derivation = self._known.get(key)
        if derivation is None:
            derivation = self._known[key] = Derivation(tuple(sources), make())
        return derivation


class Draft:
    """A graph, and the tensors and modules that it calls by name."""

    def __init__(self, cut: CutGraph, derivations: Derivations) -> None:
        """Copy the nodes of a cut graph; its tensors are shared. A last input says which pictures are redirected."""
        self.graph = fx.Graph()
        self.derived: list[Derivation] = []
        """What the finished graph has to keep."""
        self._derivations = derivations
        self._root: dict[str, Tensor | nn.Module] = {}
        copies: dict[fx.Node, fx.Node] = {}
        nodes = list(cut.module.graph.nodes)
        for node in (node for node in nodes if node.op == "placeholder"):
            copies[node] = self.graph.node_copy(node)
        self.inputs = tuple(copies.values())
        self.redirected = self.graph.placeholder("redirected")
        self.redirected.target = self.redirected.name  # fx makes names of nodes unique, not those of arguments
        for node in (node for node in nodes if node.op != "placeholder"):
            copies[node] = self.graph.node_copy(node, copies.__getitem__)
            if node.op in ("get_attr", "call_module"):
                self._root[str(node.target)] = _attribute(cut.module, str(node.target))

    def derive(self, kind: str, sources: Sequence[object], make: Callable[[], Derived], *settings: Hashable) -> Derived:
        """Return what is made of some objects, made where no graph of the model has it.

        Args:
            kind: What it is.
            sources: The tensors or modules that it is made of.
            make: Makes it.
            settings: What else it depends on.
        """
        derivation = self._derivations.get(kind, sources, make, *settings)
        self.derived.append(derivation)
        made: Derived = derivation.made
        return made

    def calls(self, *functions: Callable[..., Any]) -> list[fx.Node]:
        """Return the nodes that call one of some functions, in the order of execution."""
        return [node for node in self.graph.nodes if is_call(node, *functions)]

    def named(self, operation: str) -> list[tuple[fx.Node, Tensor | nn.Module]]:
        """Return the nodes of `get_attr` or `call_module`, and what each names."""
        return [(node, self._root[str(node.target)]) for node in self.graph.nodes if node.op == operation]

    def tensor(self, value: object) -> Tensor | None:
        """Return the tensor that an argument of a node names; None where it is computed, or no tensor."""
        if not isinstance(value, fx.Node) or value.op != "get_attr":
            return None
        found = self._root[str(value.target)]
        return found if isinstance(found, Tensor) else None

    def insert_tensor(self, before: fx.Node, tensor: Tensor) -> fx.Node:
        """Return a node that names a tensor, before another node."""
        with self.graph.inserting_before(before):
            # Not `Graph.get_attr`, which warns of a name that no module has yet.
            return self.graph.create_node("get_attr", self.register(before, tensor))

    def insert_module(self, before: fx.Node, module: nn.Module, *arguments: Any, **keywords: Any) -> fx.Node:
        """Return a node that calls a module, before another node."""
        with self.graph.inserting_before(before):
            return self.graph.create_node("call_module", self.register(before, module), arguments, keywords)

    def replace(self, node: fx.Node, replacement: fx.Node) -> None:
        """Let all that read one node read another, and erase it."""
        node.replace_all_uses_with(replacement)
        self.graph.erase_node(node)

    def read_instead(self, node: fx.Node, derived: fx.Node) -> None:
        """Let all that read one node read another, which is computed from it."""
        node.replace_all_uses_with(derived, delete_user_cb=lambda reader: reader is not derived)

    def register(self, node: fx.Node, value: Tensor | nn.Module) -> str:
        """Return a name for something that is to stand at a node."""
        name = f"lowered_{len(self._root)}_{node.name}"
        self._root[name] = value
        return name

    def finish(self) -> fx.GraphModule:
        """Return the graph without what nothing reads any more."""
        for node in reversed(list(self.graph.nodes)):
            if node.op not in ("placeholder", "output") and not node.users:
                self.graph.erase_node(node)
        self.graph.lint()
        used = {str(node.target) for node in self.graph.nodes if node.op in ("get_attr", "call_module")}
        module = fx.GraphModule({name: value for name, value in self._root.items() if name in used}, self.graph)
        module.eval()
        return module


def is_call(node: fx.Node | None, *functions: Callable[..., Any]) -> bool:
    """Tell whether a node calls one of some functions."""
    return node is not None and node.op == "call_function" and node.target in functions


def arguments_of(node: fx.Node, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by their names.

    Args:
        node: A call.
        defaults: The names of all arguments of its function, in order, and their defaults.
    """
    return {**defaults, **dict(zip(defaults, node.args, strict=False)), **node.kwargs}


def only_reader(node: fx.Node) -> fx.Node | None:
    """Return the one node that reads the value of a node; None where several do, or a request."""
    readers = list(node.users)
    return readers[0] if len(readers) == 1 and readers[0].op != "output" else None


def _attribute(module: nn.Module, target: str) -> Any:
    holder, _, name = target.rpartition(".")
    return getattr(module.get_submodule(holder), name)

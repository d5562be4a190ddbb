"""What is inside of each layer: the trained tensors, and the operations with what they cost.

A layer holds itself and every layer whose name begins with its own and a dot. A module that is called twice is two
layers, `block` and `block@1`; what its second call calls is `block.conv@1`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from torch import fx

from phosphene_server.models.builder import SCOPE
from phosphene_server.models.graph import GraphLayer, ModelGraph


def parameters_inside(graph: ModelGraph) -> Mapping[str, set[str]]:
    """Return for each layer the trained tensors in it."""
    inside: dict[str, set[str]] = defaultdict(set)
    for layer in graph.layers.values():
        for name in _holders(layer.name, graph.layers):
            inside[name].update(layer.parameters)
    return inside


def costs_inside(graph: ModelGraph, costs: Mapping[str, int]) -> Mapping[str, int]:
    """Return for each layer the sum of the costs of all nodes in it.

    Args:
        graph: The graph.
        costs: Node -> cost.
    """
    places = _Places(graph)
    inside: dict[str, int] = defaultdict(int)
    for node in graph.module.graph.nodes:
        if costs.get(node.name):
            for name in places.holders(node):
                inside[name] += costs[node.name]
    return inside


def _holders(name: str, known: Iterable[str]) -> Iterator[str]:
    """Yield a layer and those that it is in; `known`: the names that there are."""
    yield name
    path, _, call = name.partition("@")
    while "." in path:
        path = path.rpartition(".")[0]
        again = f"{path}@{call}"
        yield again if call and again in known else path


class _Places:
    """Tells in which layers a node is."""

    def __init__(self, graph: ModelGraph) -> None:
        self._layers = graph.layers
        self._rows: dict[str, list[GraphLayer]] = defaultdict(list)
        for layer in graph.layers.values():
            self._rows[layer.node].append(layer)

    def holders(self, node: fx.Node) -> set[str]:
        """Return the names of all layers that a node is in."""
        scope = node.meta.get(SCOPE)
        if scope == "":  # in the model's own code: in no layer, unless it is one itself
            return {row.name for row in self._rows[node.name] if row.kind != "module"}
        return set(_holders(scope or self._innermost(node), self._layers))

    def _innermost(self, node: fx.Node) -> str:
        """Return the innermost layer that a node, or the next one with a name behind it, is the value of.

        An operation of a file that became several nodes has its name at the last of them.
        """
        seen = {node}
        waiting = [node]
        while waiting:
            current = waiting.pop(0)
            if self._rows.get(current.name):
                return max(self._rows[current.name], key=lambda row: (row.kind != "module", row.name.count("."))).name
            behind = [user for user in current.users if user not in seen]
            seen.update(behind)
            waiting.extend(behind)
        return ""

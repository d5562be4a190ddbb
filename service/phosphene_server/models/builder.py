"""What an importer fills: nodes, constants and rows of the layer table, then `build`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from phosphene_server.models.graph import FilterGeometry, GraphLayer, ModelGraph
from phosphene_server.values.model import TensorSpecification

KIND = "kind"
"""Key of `fx.Node.meta` under which importers note what kind of operation a node is, for outputs without a row."""
SCOPE = "scope"
"""Key of `fx.Node.meta` under which a node has the module call that it was written in, where the importer says it."""


class GraphBuilder:
    """Collects the parts of a ModelGraph in the order of execution."""

    def __init__(self) -> None:
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.scope: str | None = None
        """The layer name of the module call that is being written, "" for the model itself; None where nobody says."""
        self._layers: dict[str, GraphLayer] = {}

    def input(self, name: str) -> fx.Node:
        """Add an input of the model; one whose name is no Python name, or is taken, gets another."""
        node = self.graph.placeholder(name if name.isidentifier() else "input")
        node.target = node.name  # fx makes names of nodes unique, not those of arguments
        return node

    def tensor(self, name: str, value: Tensor) -> fx.Node:
        """Add a constant or trained tensor; the same name twice gives the same tensor.

        Args:
            name: The author's name, with dots, for example `conv1.weight`; it becomes the `get_attr` target.
            value: The tensor; gradients never reach it.
        """
        target = self._register(name, value)
        return self.graph.get_attr(target)

    def call(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> fx.Node:
        """Add a call of a functional operation. Never pass one that writes to its arguments."""
        node = self.graph.call_function(function, arguments, keywords)
        if self.scope is not None:
            node.meta[SCOPE] = self.scope
        return node

    def module(self, name: str, module: nn.Module, *arguments: Any) -> fx.Node:
        """Add a call of a module, which moves with the graph. No tensor or other module may have the name."""
        target = _attribute(name)
        self.root.add_module(target, module)
        return self.graph.call_module(target, arguments)

    def layer(
        self,
        name: str,
        kind: str,
        node: fx.Node,
        *,
        parameters: Sequence[str] = (),
        filters: FilterGeometry | None = None,
    ) -> None:
        """Name a node. A later row with the same name replaces the earlier one."""
        self._layers.pop(name, None)
        self._layers[name] = GraphLayer(name, kind, node.name, tuple(parameters), filters)

    def build(
        self,
        outputs: Sequence[fx.Node],
        *,
        input_specifications: Sequence[TensorSpecification],
        output_specifications: Sequence[TensorSpecification],
        producer: str = "",
    ) -> ModelGraph:
        """Close the graph. Rows whose nodes no output needs stay: a request may cut there.

        An output that is the value of no row gets one of its own name, so that a request can name it.
        """
        self._name_outputs(outputs, [entry.name for entry in output_specifications])
        self.graph.output(tuple(outputs))
        self.graph.lint()
        module = fx.GraphModule(self.root, self.graph)
        module.eval()
        order = {node.name: position for position, node in enumerate(self.graph.nodes)}
        measured = self._measured()
        rows = [
            replace(row, parameters=tuple(name for name in row.parameters if name not in measured))
            for row in sorted(self._layers.values(), key=lambda row: order[row.node])
        ]
        return ModelGraph(module, rows, inputs=input_specifications, outputs=output_specifications, producer=producer)

    def _name_outputs(self, outputs: Sequence[fx.Node], names: Sequence[str]) -> None:
        """Add rows for outputs that are the value of none; where another row has the name, it is `name@1`."""
        named = {row.node for row in self._layers.values()}
        for node, name in zip(outputs, names, strict=False):
            if node.op not in ("call_function", "call_module") or node.name in named:
                continue
            own, count = name, 0
            while own in self._layers:
                count += 1
                own = f"{name}@{count}"
            trained = tuple(str(source.target) for source in node.all_input_nodes if source.op == "get_attr")
            self.layer(own, node.meta.get(KIND, "operation"), node, parameters=trained)
            named.add(node.name)

    def _measured(self) -> set[str]:
        """Return the targets of the running means and variances of normalizations: measured, not trained."""
        normalizations = [node for node in self.graph.nodes if node.target in (F.batch_norm, F.instance_norm)]
        statistics = [value for node in normalizations for value in node.args[1:3]]
        return {str(value.target) for value in statistics if isinstance(value, fx.Node)}

    def _register(self, name: str, value: Tensor) -> str:
        """Put a tensor into the tree of modules that its dotted name spells, and return its target."""
        *path, leaf = [_attribute(part) for part in name.split(".")]
        holder = self.root
        for part in path:
            if not hasattr(holder, part):
                holder.add_module(part, nn.Module())
            holder = getattr(holder, part)
        if not hasattr(holder, leaf):
            holder.register_buffer(leaf, value.detach().clone(memory_format=torch.contiguous_format))
        return ".".join([*path, leaf])


def _attribute(part: str) -> str:
    """Return a part of an author's name as a name of an attribute: `0` stays, since the layers of a Sequential have it.

    fx writes the name into Python code, so nothing but letters, digits and underscores may pass; and a module has
    attributes of its own, for example `type` or `forward`, that must not be hidden.
    """
    plain = "".join(character if character.isalnum() else "_" for character in part)
    return plain if plain and not hasattr(nn.Module, plain) and plain != "training" else f"_{plain}"

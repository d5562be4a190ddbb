"""Branches that are chosen when the graph runs.

What a program does in a branch is written into the graph like everything else; then those nodes are moved into a graph
of their own, which takes what they read from outside as arguments. Beside the one of the other branch it stands in one
node, which evaluates the one that the condition asks for, and nothing of the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from phosphene_server.models.graph import ancestors
from phosphene_server.models.importers.aten.emitter import Emitter


@dataclass(frozen=True)
class Branch:
    """A part of a program as a function of what it reads from outside."""

    module: fx.GraphModule
    captures: tuple[fx.Node, ...]


def last_node(emit: Emitter) -> fx.Node | None:
    """Return the last node that is written; the operations of a branch follow it."""
    return next(iter(reversed(emit.builder.graph.nodes)), None)


def nodes_after(emit: Emitter, start: fx.Node | None) -> list[fx.Node]:
    """Return the operations that were written after a node. Trained tensors stay outside of every branch."""
    found: list[fx.Node] = []
    for node in reversed(emit.builder.graph.nodes):
        if node is start:
            break
        if node.op == "call_function":
            found.append(node)
    return found[::-1]


def cut_branch(region: Sequence[fx.Node], outputs: Sequence[Any]) -> Branch:
    """Copy operations into a graph of their own; they themselves stay, see `erase`.

    Args:
        region: What was written in the branch, in order.
        outputs: What the branch gives: nodes and numbers.
    """
    wanted = [value for value in outputs if isinstance(value, fx.Node)]
    needed = {*wanted, *ancestors(wanted)}
    moved = [node for node in region if node in needed]
    captures = _read_outside(moved, wanted)
    graph = fx.Graph()
    copies = {node: graph.placeholder(f"captured_{position}") for position, node in enumerate(captures)}
    for node in moved:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[value] if isinstance(value, fx.Node) else value for value in outputs))
    return Branch(fx.GraphModule(nn.Module(), graph), tuple(captures))


def erase(emit: Emitter, region: Sequence[fx.Node]) -> None:
    """Erase the operations of a branch that nothing outside of it reads any more."""
    for node in reversed(region):
        emit.builder.graph.erase_node(node)
    emit.forget(region)


def write_choice(emit: Emitter, condition: Any, branches: Sequence[Branch], examples: Sequence[Any]) -> fx.Node:
    """Write the node that evaluates the first branch where the condition holds, otherwise the second.

    Args:
        emit: The graph.
        condition: A number, or a tensor of one element.
        branches: The two branches, which give as many values.
        examples: What the values look like.
    """
    first, second = branches
    captures = list(dict.fromkeys([*first.captures, *second.captures]))
    position = {node: index for index, node in enumerate(captures)}
    return emit.call_like(
        tuple(examples),
        choose,
        condition,
        emit.module(first.module),
        [position[node] for node in first.captures],
        emit.module(second.module),
        [position[node] for node in second.captures],
        *captures,
    )


def choose(
    condition: Any,
    first: nn.Module,
    first_captures: list[int],
    second: nn.Module,
    second_captures: list[int],
    *captures: Any,
) -> tuple[Any, ...]:
    """Evaluate one of two branches.

    Tensors without numbers, on the meta device, decide nothing: then both are evaluated for their shapes.

    Raises:
        ValueError: on the meta device, the branches give different shapes.
    """

    def evaluate(branch: nn.Module, chosen: list[int]) -> tuple[Any, ...]:
        values: tuple[Any, ...] = branch(*(captures[index] for index in chosen))
        return values

    if condition is not None and not (isinstance(condition, Tensor) and condition.is_meta):
        return evaluate(first, first_captures) if condition else evaluate(second, second_captures)
    results = evaluate(first, first_captures), evaluate(second, second_captures)
    for one, other in zip(*results, strict=True):
        if isinstance(one, Tensor) and (one.shape != other.shape or one.dtype != other.dtype):
            raise ValueError("the branches give tensors of different shapes")
    return results[0]


def _read_outside(moved: Sequence[fx.Node], wanted: Sequence[fx.Node]) -> list[fx.Node]:
    """Return the nodes that a branch takes from outside, those that it gives without having computed them included."""
    inside = set(moved)
    read = [source for node in moved for source in node.all_input_nodes]
    return [node for node in dict.fromkeys([*read, *wanted]) if node not in inside]

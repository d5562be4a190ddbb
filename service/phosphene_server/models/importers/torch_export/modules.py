"""Which operations belong to which module call, and what each call returns.

The file says for every operation in which modules it ran, outermost first, as `key,path,class;key,path,class`. A module
that was called again has a key with a suffix, `relu@1`. What a call returned is not said: it is the last of its values
that is used outside.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phosphene_server.models.importers.torch_export.arguments import names_in

UNKNOWN_STACK = "_empty_nn_module_stack"
"""What export writes for operations of its own, that ran in no module."""


@dataclass(frozen=True)
class ModuleCall:
    """A call of a module, and the name of the value that it returned."""

    name: str
    parent: str
    value: str


def scopes(node: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the layer names of the module calls in which an operation ran, outermost first, without the model."""
    stack = node.get("metadata", {}).get("nn_module_stack", "")
    found = []
    for entry in filter(None, stack.split(";")):
        key, path = entry.split(",")[:2]
        repetition = re.search(r"@\d+$", key)
        if path and not path.startswith(UNKNOWN_STACK):
            found.append(path + (repetition.group() if repetition and "@" not in path else ""))
    return tuple(found)


def calls_by_end(nodes: Sequence[Mapping[str, Any]], outputs: Sequence[str]) -> dict[int, list[ModuleCall]]:
    """Return the module calls by the position of their last operation, inner ones first.

    Args:
        nodes: The operations of the program in order, as JSON.
        outputs: The names of the values that the program returns.
    """
    stacks = [scopes(node) for node in nodes]
    members: dict[str, list[int]] = {}
    parents: dict[str, str] = {}
    for position, stack in enumerate(stacks):
        for parent, scope in zip(("", *stack), stack, strict=False):
            members.setdefault(scope, []).append(position)
            parents.setdefault(scope, parent)
    readers = _readers(nodes, outputs)
    ending: dict[int, list[ModuleCall]] = {}
    # A scope that was opened later is an inner one.
    for scope in reversed(members):
        value = _returned(scope, [nodes[position] for position in members[scope]], readers, stacks)
        if value:
            ending.setdefault(members[scope][-1], []).append(ModuleCall(scope, parents[scope], value))
    return ending


def _readers(nodes: Sequence[Mapping[str, Any]], outputs: Sequence[str]) -> dict[str, list[int]]:
    """Return where each value is read; -1 stands for the end of the program."""
    readers: dict[str, list[int]] = {name: [-1] for name in outputs}
    for position, node in enumerate(nodes):
        for name in names_in([entry["arg"] for entry in node["inputs"]]):
            readers.setdefault(name, []).append(position)
    return readers


def _returned(
    scope: str,
    nodes: Sequence[Mapping[str, Any]],
    readers: Mapping[str, list[int]],
    stacks: Sequence[tuple[str, ...]],
) -> str:
    """Return the last value that is read outside, the very last where none is."""
    values = [name for node in nodes for output in node["outputs"] for name in names_in(_tensors_of(output))]
    outside = [
        name for name in values if any(reader < 0 or scope not in stacks[reader] for reader in readers.get(name, ()))
    ]
    return (outside or values or [""])[-1]


def _tensors_of(output: Mapping[str, Any]) -> Any:
    return {kind: value for kind, value in output.items() if kind in {"as_tensor", "as_tensors"}}

"""What the innermost modules of a TorchScript file return, as PyTorch's interpreter computes them.

The interpreter shows nothing but the result of a method. So all calls are inlined, which keeps of every operation in
which module it was, and the last value of each innermost module is returned as well: a copy, since in-place operations
behind it may overwrite it. It tells where a graph departs, after the outputs have told that it does.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from phosphene_server.models.parity.deviations import Array, array_of

NO_INSTANCES = frozenset({"SELF", "UNKNOWN_INSTANCE"})
"""What PyTorch writes into a path where a module calls another method of its own, or a function."""


def layer_values(module: Any, inputs: Sequence[Tensor]) -> Mapping[str, Array]:
    """Return the values of the innermost modules by layer names, in the order of execution.

    A module that is called again is `relu@1`. One that is called twice with nothing in between is seen as called once,
    and so are operations that run only under a condition left out; a graph has other names then, or none.

    Args:
        module: The model.
        inputs: Its inputs; it may overwrite them.
    """
    graph = module._get_method("forward").inlined_graph  # a copy
    values = _last_values(graph)
    nothing = _constant_none(graph)
    for _ in list(graph.outputs()):
        graph.eraseOutput(0)
    for value in values.values():
        kept = graph.create("aten::clone", [value, nothing], 1)
        kept.insertAfter(value.node())
        graph.registerOutput(kept.output())
    graph.makeMultiOutputIntoTuple()
    results = torch._C._create_function_from_graph("layers", graph)(module, *inputs)
    return {name: array_of(result) for name, result in zip(values, results, strict=True)}


def _constant_none(graph: Any) -> Any:
    with graph.insert_point_guard(next(graph.nodes())):
        return graph.insertConstant(None)


def _last_values(graph: Any) -> dict[str, Any]:
    """Return the last tensor of each call of an innermost module."""
    found: dict[str, Any] = {}
    calls: dict[str, int] = {}
    placed = [(_path(node), node) for node in graph.nodes() if node.kind().startswith("aten::")]
    parents = {parent for path, _ in placed for parent in _parents(path)}
    previous = ""
    for path, node in placed:
        if path != previous:
            calls[path] = calls.get(path, -1) + 1
        previous = path
        output = next(node.outputs(), None)
        if path and path not in parents and output is not None and output.type().kind() == "TensorType":
            found[f"{path}@{calls[path]}" if calls[path] else path] = output
    return found


def _path(node: Any) -> str:
    """Return `stem.0` of `stem(Sequential).0(Conv2d).SELF(Conv2d)`."""
    path = re.sub(r"\([^()]*\)", "", node.getModuleHierarchy())
    return ".".join(part for part in path.split(".") if part not in NO_INSTANCES)


def _parents(path: str) -> Iterator[str]:
    while "." in path:
        path = path.rpartition(".")[0]
        yield path

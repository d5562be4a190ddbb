"""Which operators give a view of their argument's memory, and how a write to the view changes the argument."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments

Scatter = Callable[[Emitter, Arguments, fx.Node, fx.Node], fx.Node]
"""Writes the argument's new value from its old value and the view's new value."""


def _slice(emit: Emitter, a: Arguments, old: fx.Node, new: fx.Node) -> fx.Node:
    end = a.get("end")
    end = None if isinstance(end, int) and end >= sys.maxsize else end
    return emit.call(torch.slice_scatter, old, new, a.get("dim", 0), a.get("start"), end, a.get("step", 1))


def _select(emit: Emitter, a: Arguments, old: fx.Node, new: fx.Node) -> fx.Node:
    return emit.call(torch.select_scatter, old, new, a["dim"], a["index"])


def _reshape(emit: Emitter, a: Arguments, old: fx.Node, new: fx.Node) -> fx.Node:
    return emit.call(torch.Tensor.reshape_as, new, old)


def _transpose(emit: Emitter, a: Arguments, old: fx.Node, new: fx.Node) -> fx.Node:
    return emit.call(torch.transpose, new, a["dim0"], a["dim1"])


def _permute(emit: Emitter, a: Arguments, old: fx.Node, new: fx.Node) -> fx.Node:
    axes = [axis % len(a["dims"]) for axis in a["dims"]]
    return emit.call(torch.permute, new, sorted(range(len(axes)), key=axes.__getitem__))


VIEWS: Mapping[str, Scatter | None] = {
    "slice": _slice,
    "select": _select,
    "view": _reshape,
    "_unsafe_view": _reshape,
    "reshape": _reshape,
    "view_as": _reshape,
    "reshape_as": _reshape,
    "flatten": _reshape,
    "unflatten": _reshape,
    "squeeze": _reshape,
    "unsqueeze": _reshape,
    "transpose": _transpose,
    "permute": _permute,
    "t": lambda emit, a, old, new: emit.call(torch.t, new),
    "swapaxes": None,
    "expand": None,
    "expand_as": None,
    "narrow": None,
    "movedim": None,
    "chunk": None,
    "split": None,
    "split_with_sizes": None,
    "unbind": None,
    "detach": None,
    "unfold": None,
}
"""By functional name. None: the effect of a write on the argument is not written down."""

COPIES = frozenset({"clone", "lift_fresh_copy", "_to_copy"})
"""Operators that the graph leaves out although their result is memory of its own."""


def shares_memory(emit: Emitter, name: str, argument: fx.Node, result: fx.Node) -> bool:
    """Whether a result is a view of an argument: by their examples where both are known, otherwise by name."""
    if name not in VIEWS:
        return False
    first: Any = emit.example(argument)
    second: Any = emit.example(result)
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return bool(first.untyped_storage()._cdata == second.untyped_storage()._cdata)
    return True


def is_copy(emit: Emitter, name: str, argument: fx.Node) -> bool:
    """Whether an operator that the graph leaves out gives memory of its own."""
    if name == "contiguous":
        example = emit.example(argument)
        return isinstance(example, torch.Tensor) and not example.is_contiguous()
    return name in COPIES

"""Which operators give a view of their argument's memory, and how a write to the view changes the argument."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

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


def _narrow(emit: Emitter, a: Arguments, old: fx.Node, new: fx.Node) -> fx.Node:
    return emit.call(replace_part, old, new, a["dim"], a["start"])


def _swap(emit: Emitter, a: Arguments, old: fx.Node, new: fx.Node) -> fx.Node:
    return emit.call(torch.transpose, new, a["axis0"], a["axis1"])


def _move(emit: Emitter, a: Arguments, old: fx.Node, new: fx.Node) -> fx.Node:
    return emit.call(torch.movedim, new, a["destination"], a["source"])


def _chunk(emit: Emitter, a: Arguments, old: fx.Node, new: fx.Node) -> fx.Node:
    return emit.call(replace_chunk, old, new, a["chunks"], a.get("dim", 0), a[PART])


def _split(emit: Emitter, a: Arguments, old: fx.Node, new: fx.Node) -> fx.Node:
    sizes = a["split_size"] if "split_size" in a else a["split_sizes"]
    return emit.call(replace_split, old, new, sizes, a.get("dim", 0), a[PART])


def _unbind(emit: Emitter, a: Arguments, old: fx.Node, new: fx.Node) -> fx.Node:
    return emit.call(torch.select_scatter, old, new, a.get("dim", 0), a[PART])


def _diagonal(emit: Emitter, a: Arguments, old: fx.Node, new: fx.Node) -> fx.Node:
    return emit.call(torch.diagonal_scatter, old, new, a.get("offset", 0), a.get("dim1", 0), a.get("dim2", 1))


def _detach(emit: Emitter, a: Arguments, old: fx.Node, new: fx.Node) -> fx.Node:
    return emit.call(with_gradient_of, new, old)


PART = "part"
"""Among the arguments of a view that gives several tensors: which of them it is."""

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
    "swapaxes": _swap,
    "expand": _reshape,  # Where it repeats anything, torch refuses the write.
    "expand_as": _reshape,
    "broadcast_to": _reshape,
    "ravel": _reshape,
    "atleast_1d": _reshape,
    "atleast_2d": _reshape,
    "atleast_3d": _reshape,
    "mT": lambda emit, a, old, new: emit.call(torch.transpose, new, -2, -1),
    "narrow": _narrow,
    "movedim": _move,
    "chunk": _chunk,
    "split": _split,
    "split_with_sizes": _split,
    "unbind": _unbind,
    "diagonal": _diagonal,
    "detach": _detach,
    "unfold": None,
    "tensor_split": None,
    "hsplit": None,
    "vsplit": None,
    "dsplit": None,
    "linalg_diagonal": None,
    "adjoint": None,
    "positive": None,
    "real": None,
    "imag": None,
    "view_as_real": None,
    "view_as_complex": None,
    "conj": None,
    "_conj": None,
    "resolve_conj": None,
    "resolve_neg": None,
}
"""By functional name. None: the effect of a write on the argument is not written down."""

COPIES = frozenset({"clone", "lift_fresh_copy", "_to_copy"})
"""Operators that the graph leaves out although their result is memory of its own."""


def replace_part(whole: Tensor, part: Tensor, axis: int, start: int) -> Tensor:
    """Return `whole` with the entries of an axis from `start` on replaced by those of `part`."""
    start = start + whole.shape[axis] if start < 0 else start
    return torch.slice_scatter(whole, part, axis, start, start + part.shape[axis])


def replace_chunk(whole: Tensor, part: Tensor, chunks: int, axis: int, index: int) -> Tensor:
    """Return `whole` with one of its chunks replaced."""
    return _replace_piece(whole, part, torch.chunk(whole, chunks, axis), axis, index)


def replace_split(whole: Tensor, part: Tensor, sizes: int | list[int], axis: int, index: int) -> Tensor:
    """Return `whole` with one of the pieces of given sizes replaced."""
    return _replace_piece(whole, part, torch.split(whole, sizes, axis), axis, index)


def _replace_piece(whole: Tensor, part: Tensor, pieces: Sequence[Tensor], axis: int, index: int) -> Tensor:
    before = pieces[: index % len(pieces)]
    return replace_part(whole, part, axis, sum(piece.shape[axis] for piece in before))


def with_gradient_of(value: Tensor, source: Tensor) -> Tensor:
    """Return `value` with the gradient of `source`: what a write past the record of gradients leaves behind."""
    return value.detach() + (source - source.detach())


def shares_memory(emit: Emitter, name: str, argument: fx.Node, result: fx.Node) -> bool:
    """Whether a result is a view of an argument: by their examples where both are known, otherwise by name."""
    if name not in VIEWS:
        return False
    first: Any = emit.example(argument)
    second: Any = emit.example(result)
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return bool(first.untyped_storage()._cdata == second.untyped_storage()._cdata)
    return True


def is_copy(emit: Emitter, name: str, arguments: Arguments, result: fx.Node) -> bool:
    """Whether an operator that the graph leaves out gives memory of its own."""
    example = emit.example(result)
    if name == "contiguous":
        return isinstance(example, torch.Tensor) and not example.is_contiguous()
    if name == "to":
        dtype = arguments.get("dtype")
        changes = isinstance(dtype, torch.dtype) and isinstance(example, torch.Tensor) and example.dtype != dtype
        return changes or bool(arguments.get("copy"))
    return name in COPIES

"""Operations that move values without computing: reshaping, slicing, joining, padding, and the sizes themselves."""

import operator
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator, direct, identity


class Several:
    """An operation that gives several tensors, of which nobody has said yet how many."""

    def __init__(self, node: fx.Node) -> None:
        self.node = node
        self.parts: dict[int, Any] = {}
        """The variables that were made of the tensors: one each, since a name stands for memory."""
        self.make_part: Callable[[int], Any] | None = None
        """Makes the variable of a tensor that shares memory with what was divided; None: it has memory of its own."""


def _several(function: Any, *names: str) -> Operator:
    row = direct("split", function, *names)
    return Operator("split", lambda emit, arguments: Several(row.lower(emit, arguments)))


def size(emit: Emitter, a: Arguments) -> Any:
    """Write the length of one axis, or of all where none is named."""
    if a.get("dim") is not None:
        return emit.size(a["self"], a["dim"])
    return [emit.size(a["self"], axis) for axis in range(rank(emit, a))]


def rank(emit: Emitter, a: Arguments) -> int:
    """Return the number of axes, which is the same for every input."""
    example = emit.example(a["self"])
    if example is None:
        raise UnsupportedModel("", "it asks for the shape of a tensor whose number of axes is not known")
    return int(example.dim())


def _reshape(emit: Emitter, a: Arguments) -> Any:
    return emit.call(torch.reshape, a["self"], a["size"] if "size" in a else a["shape"])


def _reshape_as(emit: Emitter, a: Arguments) -> Any:
    return emit.call(torch.reshape, a["self"], size(emit, {"self": a["other"]}))


def _slice(emit: Emitter, a: Arguments) -> Any:
    end = a.get("end")
    # The largest integer is how traces write an open end.
    end = None if isinstance(end, int) and end >= sys.maxsize else end
    return emit.call(operator.getitem, a["self"], along(a.get("dim", 0), slice(a.get("start"), end, a.get("step", 1))))


def along(axis: int, part: Any) -> tuple[Any, ...]:
    """Return the index that takes `part` of one axis and everything of the others."""
    if axis < 0:
        return (Ellipsis, part, *(slice(None) for _ in range(-axis - 1)))
    return (*(slice(None) for _ in range(axis)), part)


def _index(emit: Emitter, a: Arguments) -> Any:
    return emit.call(operator.getitem, a["self"], tuple(slice(None) if i is None else i for i in a["indices"]))


def _index_put(emit: Emitter, a: Arguments) -> Any:
    indices, rest = list(a["indices"]), (a["values"], a.get("accumulate", False))
    # The operator itself takes None for an axis of which everything is meant; the function of torch does not.
    function = torch.ops.aten.index_put.default if None in indices else torch.index_put
    return emit.call(function, a["self"], tuple(indices), *rest)


def _as_strided(emit: Emitter, a: Arguments) -> Any:
    """Return a tensor that is told to lie in memory as it lies already, which decompositions write."""
    example, sizes, strides = emit.example(a["self"]), a["size"], a["stride"]
    axes = range(len(sizes))
    if (
        example is None
        or list(example.shape) != list(sizes)
        or a.get("storage_offset") not in (None, 0)
        or any(sizes[axis] > 1 and example.stride(axis) != strides[axis] for axis in axes)
    ):
        raise UnsupportedModel("", "it reads a tensor by the places of its elements in memory (as_strided)")
    return a["self"]


def _squeeze(emit: Emitter, a: Arguments) -> Any:
    axes = a.get("dim")
    return emit.call(torch.squeeze, a["self"]) if axes is None else emit.call(torch.squeeze, a["self"], axes)


def _pad(emit: Emitter, a: Arguments) -> Any:
    mode = a.get("mode", "constant")
    if mode == "constant":
        return emit.call(F.pad, a["self"], a["pad"], "constant", a.get("value") or 0)
    return emit.call(F.pad, a["self"], a["pad"], mode)


def _pad_mode(mode: str) -> Operator:
    return Operator("padding", lambda emit, a: emit.call(F.pad, a["self"], a["padding"], mode))


def _concatenate(emit: Emitter, a: Arguments) -> Any:
    return emit.call(torch.cat, list(a["tensors"]), a.get("dim", 0))


def _stack(emit: Emitter, a: Arguments) -> Any:
    return emit.call(torch.stack, list(a["tensors"]), a.get("dim", 0))


OPERATORS: dict[str, Operator] = {
    "size": Operator("", size),
    "sym_size": Operator("", size),
    "dim": Operator("", rank),
    "numel": Operator("", lambda emit, a: emit.number(torch.numel, a["self"])),
    "sym_numel": Operator("", lambda emit, a: emit.number(torch.numel, a["self"])),
    "view": Operator("reshape", _reshape),
    "_unsafe_view": Operator("reshape", _reshape),
    "reshape": Operator("reshape", _reshape),
    "view_as": Operator("reshape", _reshape_as),
    "reshape_as": Operator("reshape", _reshape_as),
    "flatten": direct("flatten", torch.flatten, "self", "start_dim", "end_dim"),
    "unflatten": direct("reshape", torch.unflatten, "self", "dim", "sizes"),
    "squeeze": Operator("reshape", _squeeze),
    "unsqueeze": direct("reshape", torch.unsqueeze, "self", "dim"),
    "permute": direct("transposition", torch.permute, "self", "dims"),
    "transpose": direct("transposition", torch.transpose, "self", "dim0", "dim1"),
    "swapaxes": direct("transposition", torch.transpose, "self", "axis0", "axis1"),
    "t": direct("transposition", torch.t, "self"),
    "movedim": direct("transposition", torch.movedim, "self", "source", "destination"),
    "expand": direct("expansion", torch.Tensor.expand, "self", "size"),
    "expand_as": direct("expansion", torch.Tensor.expand_as, "self", "other"),
    "repeat": direct("expansion", torch.Tensor.repeat, "self", "repeats"),
    "repeat_interleave": direct("expansion", torch.repeat_interleave, "self", "repeats", "dim"),
    "slice": Operator("slice", _slice),
    "select": direct("slice", torch.select, "self", "dim", "index"),
    "narrow": direct("slice", torch.narrow, "self", "dim", "start", "length"),
    "index": Operator("gather", _index),
    "index_put": Operator("scatter", _index_put),
    "index_select": direct("gather", torch.index_select, "self", "dim", "index"),
    "gather": direct("gather", torch.gather, "self", "dim", "index"),
    "embedding": direct("embedding", F.embedding, "indices", "weight"),
    "cat": Operator("concatenation", _concatenate),
    "stack": Operator("concatenation", _stack),
    "chunk": _several(torch.chunk, "self", "chunks", "dim"),
    "split": _several(torch.split, "self", "split_size", "dim"),
    "split_with_sizes": _several(torch.split, "self", "split_sizes", "dim"),
    "unbind": _several(torch.unbind, "self", "dim"),
    "flip": direct("transposition", torch.flip, "self", "dims"),
    "roll": direct("transposition", torch.roll, "self", "shifts", "dims"),
    "pad": Operator("padding", _pad),
    "constant_pad_nd": Operator("padding", _pad),
    **{f"reflection_pad{axes}d": _pad_mode("reflect") for axes in (1, 2, 3)},
    **{f"replication_pad{axes}d": _pad_mode("replicate") for axes in (1, 2, 3)},
    "pixel_shuffle": direct("reshape", F.pixel_shuffle, "self", "upscale_factor"),
    "pixel_unshuffle": direct("reshape", F.pixel_unshuffle, "self", "downscale_factor"),
    "channel_shuffle": direct("transposition", F.channel_shuffle, "self", "groups"),
    "unfold": direct("slice", torch.Tensor.unfold, "self", "dimension", "size", "step"),
    "im2col": direct("slice", F.unfold, "self", "kernel_size", "dilation", "padding", "stride"),
    "as_strided": Operator("identity", _as_strided),
    "contiguous": identity("identity"),
    "clone": identity("identity"),
    "alias": identity("identity"),
    "lift_fresh": identity("identity"),
    "lift_fresh_copy": identity("identity"),
}

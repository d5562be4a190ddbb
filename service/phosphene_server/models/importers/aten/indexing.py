"""Choosing, scattering and sorting: operations whose result depends on places in a tensor."""

from typing import Any

import torch
import torch.nn.functional as F

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator, direct


def _sort(emit: Emitter, a: Arguments) -> Any:
    stable = bool(a.get("stable") or False)
    both = emit.call(torch.sort, a["self"], dim=a.get("dim", -1), descending=a.get("descending", False), stable=stable)
    return emit.item(both, 0), emit.item(both, 1)


def _scatter(emit: Emitter, a: Arguments) -> Any:
    """Write a scatter of a tensor (`src`) or of one number (`value`), maybe reduced with what is there."""
    source = a["src"] if "src" in a else a["value"]
    options = {"reduce": a["reduce"]} if a.get("reduce") else {}
    return emit.call(torch.scatter, a["self"], a["dim"], a["index"], source, **options)


def _scatter_reduce(emit: Emitter, a: Arguments) -> Any:
    arguments = [a[name] for name in ("self", "dim", "index", "src", "reduce")]
    return emit.call(torch.scatter_reduce, *arguments, include_self=a.get("include_self", True))


def _index_fill(emit: Emitter, a: Arguments) -> Any:
    return emit.call(torch.index_fill, a["self"], a["dim"], a["index"], a["value"])


def _meshgrid(emit: Emitter, a: Arguments) -> Any:
    both = emit.call(torch.meshgrid, *a["tensors"], indexing=a.get("indexing", "ij"))
    return [emit.item(both, index) for index in range(len(a["tensors"]))]


def _fold(emit: Emitter, a: Arguments) -> Any:
    return emit.call(
        F.fold, *(a[name] for name in ("self", "output_size", "kernel_size", "dilation", "padding", "stride"))
    )


OPERATORS: dict[str, Operator] = {
    "sort": Operator("sorting", _sort),
    "argsort": direct("sorting", torch.argsort, "self", keywords=("dim", "descending")),
    "scatter": Operator("scatter", _scatter),
    "scatter_add": direct("scatter", torch.scatter_add, "self", "dim", "index", "src"),
    "scatter_reduce": Operator("scatter", _scatter_reduce),
    "slice_scatter": direct("scatter", torch.slice_scatter, "self", "src", keywords=("dim", "start", "end", "step")),
    "select_scatter": direct("scatter", torch.select_scatter, "self", "src", "dim", "index"),
    "index_copy": direct("scatter", torch.index_copy, "self", "dim", "index", "source"),
    "index_add": direct("scatter", torch.index_add, "self", "dim", "index", "source", keywords=("alpha",)),
    "index_fill": Operator("scatter", _index_fill),
    "masked_scatter": direct("scatter", torch.masked_scatter, "self", "mask", "source"),
    "take_along_dim": direct("gather", torch.take_along_dim, "self", "indices", "dim"),
    "one_hot": direct("gather", F.one_hot, "self", "num_classes"),
    "diagonal": direct("slice", torch.diagonal, "self", keywords=("offset", "dim1", "dim2")),
    "diag_embed": direct("scatter", torch.diag_embed, "self", keywords=("offset", "dim1", "dim2")),
    "tril": direct("selection", torch.tril, "self", "diagonal"),
    "triu": direct("selection", torch.triu, "self", "diagonal"),
    "rot90": direct("transposition", torch.rot90, "self", "k", "dims"),
    "fliplr": direct("transposition", torch.fliplr, "self"),
    "flipud": direct("transposition", torch.flipud, "self"),
    "meshgrid": Operator("expansion", _meshgrid),
    "col2im": Operator("scatter", _fold),
}

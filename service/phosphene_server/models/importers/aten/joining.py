"""Joining and dividing along fixed axes, repetition, and shapes that are brought to one another."""

from collections.abc import Callable
from typing import Any

import torch

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator, direct
from phosphene_server.models.importers.aten.shapes import Several


def _of_all(kind: str, function: Callable[..., Any]) -> Operator:
    """Make a row for a function of a list of tensors."""
    return Operator(kind, lambda emit, a: emit.call(function, list(a["tensors"])))


def _of_each(kind: str, function: Callable[..., Any]) -> Operator:
    """Make a row for a function that takes any number of tensors as arguments."""
    return Operator(kind, lambda emit, a: emit.call(function, *a["tensors"]))


def _division(function: Callable[..., Any]) -> Operator:
    """Make a row for a division into a number of parts or at places."""

    def lower(emit: Emitter, a: Arguments) -> Any:
        parts = next(a[name] for name in ("sections", "indices", "tensor_indices_or_sections") if name in a)
        axis = [a["dim"]] if "dim" in a else []
        return Several(emit.call(function, a["self"], parts, *axis))

    return Operator("split", lower)


def _broadcast(emit: Emitter, a: Arguments) -> Any:
    together = emit.call(torch.broadcast_tensors, *a["tensors"])
    return [emit.item(together, index) for index in range(len(a["tensors"]))]


OPERATORS: dict[str, Operator] = {
    "hstack": _of_all("concatenation", torch.hstack),
    "vstack": _of_all("concatenation", torch.vstack),
    "dstack": _of_all("concatenation", torch.dstack),
    "column_stack": _of_all("concatenation", torch.column_stack),
    "row_stack": _of_all("concatenation", torch.vstack),
    "block_diag": _of_each("concatenation", torch.block_diag),
    "cartesian_prod": _of_each("expansion", torch.cartesian_prod),
    "combinations": direct("expansion", torch.combinations, "self", "r", "with_replacement"),
    "broadcast_tensors": Operator("expansion", _broadcast),
    "broadcast_to": direct("expansion", torch.broadcast_to, "self", "size"),
    "tensor_split": _division(torch.tensor_split),
    "hsplit": _division(torch.hsplit),
    "vsplit": _division(torch.vsplit),
    "dsplit": _division(torch.dsplit),
    "tile": direct("expansion", torch.tile, "self", "dims"),
    "ravel": direct("flatten", torch.ravel, "self"),
    "atleast_1d": direct("reshape", torch.atleast_1d, "self"),
    "atleast_2d": direct("reshape", torch.atleast_2d, "self"),
    "atleast_3d": direct("reshape", torch.atleast_3d, "self"),
    "mT": Operator("transposition", lambda emit, a: emit.call(torch.transpose, a["self"], -2, -1)),
    "adjoint": direct("transposition", torch.adjoint, "self"),
}

"""What a row of the table of operators is: a kind of layer, and how its functional torch operation is written."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phosphene_server.models.importers.aten.emitter import Emitter

Arguments = Mapping[str, Any]
"""Values of an aten operator by the names of its schema. Tensors are nodes; what is absent has its default."""

Lowering = Callable[[Emitter, Arguments], Any]
"""Writes the operation: returns a node, a number, or a tuple or list of them."""


@dataclass(frozen=True)
class Operator:
    """A row of the table: an aten operator without overload and without the underscore of its in-place form."""

    kind: str
    """The kind of layer that it computes; empty for what is no layer, for example arithmetic with sizes."""
    lower: Lowering


def direct(kind: str, function: Callable[..., Any], *names: str, keywords: Sequence[str] = ()) -> Operator:
    """Make a row that passes arguments on: `names` by position up to the first default, the rest by name."""

    def lower(emit: Emitter, arguments: Arguments) -> Any:
        leading = list(itertools.takewhile(arguments.__contains__, names))
        named = {name: arguments[name] for name in [*names[len(leading) :], *keywords] if name in arguments}
        return emit.call(function, *(arguments[name] for name in leading), **named)

    return Operator(kind, lower)


def identity(kind: str) -> Operator:
    """Make a row for an operation that does nothing in inference: its value is its first argument."""
    return Operator(kind, lambda emit, arguments: next(iter(arguments.values())))

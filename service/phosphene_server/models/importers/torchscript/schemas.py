"""The arguments of an operator by the names of its schema, in the form in which the table of operators takes them."""

import functools
from collections.abc import Sequence
from typing import Any

import torch

from phosphene_server.models.importers.aten.creation import number_as_tensor
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.table import functional_name
from phosphene_server.models.importers.aten.variables import Variable

SCALAR_TYPES: dict[int, torch.dtype] = {
    0: torch.uint8,
    1: torch.int8,
    2: torch.int16,
    3: torch.int32,
    4: torch.int64,
    5: torch.float16,
    6: torch.float32,
    7: torch.float64,
    8: torch.complex32,
    9: torch.complex64,
    10: torch.complex128,
    11: torch.bool,
    15: torch.bfloat16,
}
"""Numbers of the types, as in c10/core/ScalarType.h."""

TYPE_NUMBERS: dict[torch.dtype, int] = {dtype: number for number, dtype in SCALAR_TYPES.items()}

TAKES_NUMBERS = frozenset(
    {
        *("add", "sub", "rsub", "mul", "div", "true_divide", "floor_divide", "remainder", "fmod", "pow"),
        *("eq", "ne", "lt", "le", "gt", "ge", "maximum", "minimum", "logical_and", "logical_or"),
        *("neg", "abs", "sqrt", "log", "floor", "ceil", "round", "trunc"),
        *("subtract", "multiply", "divide", "negative", "absolute"),
        *("where", "masked_fill", "copy", "fill", "full_like"),
    }
)
"""Rows of the table that take a number where the schema says a tensor.

A trace wraps sizes into tensors, and the arithmetic with them stays arithmetic with numbers.
"""


def named_arguments(program: Program, node: Any, arguments: Sequence[Any]) -> dict[str, Any]:
    """Return the arguments of a node by name: types as types, and numbers as tensors where nothing else will do."""
    schema = _schema(str(node.schema()))
    named = dict(zip((name for name, _ in schema), arguments, strict=True))
    if isinstance(named.get("dtype"), int):
        named["dtype"] = SCALAR_TYPES[named["dtype"]]
    if functional_name(node.kind().partition("::")[2]) in TAKES_NUMBERS:
        return named
    for name, kind in schema:
        if kind in {"Tensor", "Optional[Tensor]"}:
            named[name] = _as_tensor(program, named[name])
        elif kind in {"List[Tensor]", "List[Optional[Tensor]]"} and isinstance(named[name], list):
            named[name] = [_as_tensor(program, each) for each in named[name]]
    return named


def _as_tensor(program: Program, value: Any) -> Any:
    if isinstance(value, int | float) or program.emit.is_open(value):
        return Variable(program.emit.call(number_as_tensor, program.emit.reference, value))
    return value


@functools.cache
def _schema(text: str) -> tuple[tuple[str, str], ...]:
    """Return the names of the arguments of a schema, with their types."""
    return tuple(
        (argument.name, str(argument.type.annotation_str)) for argument in torch._C.parse_schema(text).arguments
    )

"""The operators of the TorchScript language itself: numbers, lists, dictionaries and questions about tensors.

They are run at once. A number that depends on the size of an input stays a node of the graph, and so does what is
computed from it.
"""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.shapes import Several
from phosphene_server.models.importers.aten.variables import Variable

NUMBERS: Mapping[str, Callable[..., Any]] = {
    "aten::add": operator.add,
    "aten::sub": operator.sub,
    "aten::mul": operator.mul,
    "aten::div": operator.truediv,
    "aten::floordiv": operator.floordiv,
    "aten::floor_divide": operator.floordiv,
    "aten::remainder": operator.mod,
    "aten::pow": operator.pow,
    "aten::neg": operator.neg,
    "aten::eq": operator.eq,
    "aten::ne": operator.ne,
    "aten::lt": operator.lt,
    "aten::le": operator.le,
    "aten::gt": operator.gt,
    "aten::ge": operator.ge,
    "aten::__and__": operator.and_,
    "aten::__or__": operator.or_,
    "aten::__xor__": operator.xor,
    "aten::__not__": operator.not_,
    "aten::floor": math.floor,
    "aten::ceil": math.ceil,
    "aten::round": round,
    "aten::sqrt": math.sqrt,
    "aten::Int": int,
    "aten::Float": float,
    "aten::Bool": bool,
    "aten::IntImplicit": int,
    "aten::FloatImplicit": float,
    "aten::abs": abs,
    "prim::abs": abs,
    "prim::min": min,
    "prim::max": max,
}
"""Operators of numbers, strings and lists, where no argument is a tensor."""

SAME: frozenset[str] = frozenset(
    {
        "prim::NumToTensor",
        "aten::ScalarImplicit",
        "prim::unchecked_cast",
        "aten::tensor",
        "aten::as_tensor",
        "aten::list",
    }
)
"""Operators whose value is their first argument: a number that a trace wraps into a tensor stays a number."""

SILENT: frozenset[str] = frozenset({"aten::warn", "prim::Print", "aten::format", "aten::percentFormat"})
"""Operators that speak to people. What they return is read by nobody but RaiseException."""


def evaluate(program: Program, kind: str, arguments: list[Any]) -> Any:
    """Run an operator of the language; returns NotImplemented for one that belongs to no table here."""
    if kind in SILENT:
        return ""
    if kind in SAME and arguments and not (kind == "aten::list" and isinstance(arguments[0], str)):
        return list(arguments[0]) if kind == "aten::list" else arguments[0]
    if kind in QUESTIONS:
        return QUESTIONS[kind](program, *arguments)
    # A trace computes sizes with the operators of tensors, which also take a factor or a way of rounding: not here.
    if kind in NUMBERS and len(arguments) <= 2 and not _has_tensor(arguments):
        return program.emit.number(NUMBERS[kind], *arguments)
    return NotImplemented


def _has_tensor(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_tensor(part) for part in value)
    return isinstance(value, Variable | Several)


def _length(program: Program, value: Any) -> Any:
    if isinstance(value, Variable):
        return program.emit.size(value.read(), 0)
    if isinstance(value, Several):
        example = program.emit.example(value.node)
        if example is None:
            raise UnsupportedModel("", "it counts tensors whose number is not known")
        return len(example)
    return len(value)


def _get_item(program: Program, value: Any, index: Any) -> Any:
    return program.item(value, index) if isinstance(value, Several) else value[index]


def _set_item(program: Program, value: Any, index: Any, item: Any) -> Any:
    value[index] = item
    return value


def _append(program: Program, value: list[Any], item: Any) -> Any:
    value.append(item)
    return value


def _is(program: Program, first: Any, second: Any) -> bool:
    return first is second


def _contains(program: Program, container: Any, item: Any) -> bool:
    return item in container


def _slice(program: Program, value: Any, *bounds: Any) -> Any:
    if isinstance(value, Variable):
        return NotImplemented  # The aten operator of the same name.
    return value[slice(*bounds)]


def _type_of(program: Program, value: Variable) -> torch.dtype | None:
    example = program.emit.example(value.read())
    return None if example is None else example.dtype


def _shape(program: Program, value: Variable) -> Any:
    return program.run("size", {"self": value}, scope="")


def _range_length(program: Program, start: Any, end: Any, step: Any) -> int:
    return len(range(start, end, step))


def _derive_index(program: Program, index: Any, start: Any, step: Any) -> Any:
    return start + index * step


QUESTIONS: Mapping[str, Callable[..., Any]] = {
    "aten::len": _length,
    "aten::__getitem__": _get_item,
    "aten::_set_item": _set_item,
    "aten::append": _append,
    "aten::__is__": _is,
    "aten::__isnot__": lambda program, first, second: first is not second,
    "aten::__contains__": _contains,
    "aten::keys": lambda program, value: list(value),
    "aten::values": lambda program, value: list(value.values()),
    "aten::items": lambda program, value: list(value.items()),
    "aten::slice": _slice,
    "aten::__range_length": _range_length,
    "aten::__derive_index": _derive_index,
    "aten::is_floating_point": lambda program, value: bool(
        (_type_of(program, value) or torch.float32).is_floating_point
    ),
    "prim::shape": _shape,
    "prim::dtype": _type_of,
    # Types of devices are nothing to a graph that follows its input.
    "prim::device": lambda program, value: None,
    "prim::layout": lambda program, value: None,
    "prim::is_cuda": lambda program, value: False,
    "prim::is_nested": lambda program, value: False,
    "prim::requires_grad": lambda program, value: False,
    "prim::Uninitialized": lambda program: None,
    "aten::is_autocast_enabled": lambda program: False,
    "aten::is_grad_enabled": lambda program: False,
}
"""Questions about values, and changes of lists."""

"""The operators of the TorchScript language itself, which are run at once.

A number that depends on an input stays a node of the graph, and so does what is computed from it. Containers are
Python's (containers.py); questions about tensors, types and devices are answered in questions.py.
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
from phosphene_server.models.importers.torchscript.containers import CONTAINERS
from phosphene_server.models.importers.torchscript.questions import QUESTIONS
from phosphene_server.models.importers.torchscript.schemas import SCALAR_TYPES

LARGEST = 2**63 - 1
"""Numbers of the language have 64 bits."""
MAXIMUM_LENGTH = 100_000
"""Entries of a list or characters of a word, so that a file of a few bytes cannot fill the memory."""


def power(base: Any, exponent: Any) -> Any:
    """Return a power.

    Raises:
        ValueError: it has far more than 64 bits.
    """
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > 1024:
        raise ValueError("a power that is too large")
    return base**exponent


def shifted(value: int, places: int) -> int:
    """Return a number shifted to the left.

    Raises:
        ValueError: it would have far more than 64 bits.
    """
    if not 0 <= places < 64:
        raise ValueError("a shift that is too far")
    return value << places


def negated(condition: Any) -> Any:
    """Return the opposite of a condition; of an unknown one, None, nothing."""
    return None if condition is None else not condition


NUMBERS: Mapping[str, Callable[..., Any]] = {
    "aten::add": operator.add,
    "aten::sub": operator.sub,
    "aten::mul": operator.mul,
    "aten::div": operator.truediv,
    "aten::floordiv": operator.floordiv,
    "aten::floor_divide": operator.floordiv,
    "aten::remainder": operator.mod,
    "aten::fmod": math.fmod,
    "aten::pow": power,
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
    "aten::__not__": negated,
    "aten::__lshift__": shifted,
    "aten::__rshift__": operator.rshift,
    "aten::floor": math.floor,
    "aten::ceil": math.ceil,
    "aten::round": round,
    "aten::trunc": math.trunc,
    "aten::sqrt": math.sqrt,
    "aten::exp": math.exp,
    "aten::log": math.log,
    "aten::log2": math.log2,
    "aten::log10": math.log10,
    "aten::sin": math.sin,
    "aten::cos": math.cos,
    "aten::tan": math.tan,
    "aten::tanh": math.tanh,
    "aten::isnan": math.isnan,
    "aten::isinf": math.isinf,
    "aten::isfinite": math.isfinite,
    "aten::gcd": math.gcd,
    "aten::Int": int,
    "aten::Float": float,
    "aten::Bool": bool,
    "aten::IntImplicit": int,
    "aten::FloatImplicit": float,
    "aten::abs": abs,
    "prim::abs": abs,
    "prim::min": min,
    "prim::max": max,
    "prim::NumToTensor": operator.pos,
    "aten::ScalarImplicit": operator.pos,
    "aten::item": operator.pos,
}
"""Operators of numbers, where no argument is a tensor.

A trace wraps sizes into tensors and takes them out again; they stay numbers all the way.
"""


def integer_of(tensor: Any) -> Any:
    """Return the number in a tensor of one element as a whole number."""
    return int(tensor.detach())


def number_of(tensor: Any) -> Any:
    """Return the number in a tensor of one element."""
    return tensor.detach().item()


def float_of(tensor: Any) -> Any:
    """Return the number in a tensor of one element as a floating-point number."""
    return float(tensor.detach())


def truth_of(tensor: Any) -> Any:
    """Return whether a tensor of one element is not zero; None for a tensor without numbers."""
    return None if tensor.is_meta else bool(tensor)


NUMBERS_OF_TENSORS: Mapping[str, Callable[[Any], Any]] = {
    "aten::Int": integer_of,
    "aten::IntImplicit": integer_of,
    "aten::Float": float_of,
    "aten::FloatImplicit": float_of,
    "aten::Bool": truth_of,
    "aten::item": number_of,
    "aten::ScalarImplicit": number_of,
}
"""What is known only when the graph runs."""

SAME: frozenset[str] = frozenset({"prim::unchecked_cast", "aten::wait", "prim::data"})
"""Operators whose value is their first argument."""

SILENT: frozenset[str] = frozenset({"aten::warn", "prim::Print"})
"""Operators that speak to people."""


def evaluate(program: Program, kind: str, arguments: list[Any]) -> Any:
    """Run an operator of the language; returns NotImplemented for one that belongs to no table here.

    Raises:
        UnsupportedModel: a number or container that is too large.
    """
    if kind in SILENT:
        return None
    if kind in SAME:
        return arguments[0]
    for table in (CONTAINERS, QUESTIONS):
        if kind in table:
            result = table[kind](program, *arguments)
            if result is not NotImplemented:
                return _checked(program, result)
    if kind in NUMBERS_OF_TENSORS and isinstance(arguments[0], Variable):
        return program.emit.number(NUMBERS_OF_TENSORS[kind], arguments[0].read())
    # A trace computes sizes with the operators of tensors, which also take a factor or a way of rounding: not here.
    if kind in NUMBERS and len(arguments) <= 2 and not any(_is_tensor(each) for each in arguments):
        return _checked(program, program.emit.number(NUMBERS[kind], *arguments))
    if kind == "aten::tensor" and not isinstance(arguments[0], list):
        return _number_of_type(program, *arguments)
    return NotImplemented


def _number_of_type(program: Program, value: Any, dtype: Any = None, *_: Any) -> Any:
    """Return a number that is to become a tensor; it stays a number, of that type."""
    if isinstance(value, Variable) or dtype is None:
        return value
    kind = SCALAR_TYPES[dtype]
    convert = bool if kind is torch.bool else float if kind.is_floating_point else int
    return program.emit.number(convert, value)


def _is_tensor(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_tensor(part) for part in value)
    return isinstance(value, Variable | Several)


def _checked(program: Program, value: Any) -> Any:
    known = program.emit.example(value)
    if isinstance(known, int) and abs(known) > LARGEST:
        raise UnsupportedModel("", "a number of more than 64 bits")
    if isinstance(known, str | list | dict) and len(known) > MAXIMUM_LENGTH:
        raise UnsupportedModel("", f"a list or word of more than {MAXIMUM_LENGTH} entries")
    return value

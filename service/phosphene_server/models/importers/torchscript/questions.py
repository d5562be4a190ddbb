"""What a program asks about tensors, types and devices, and in which mode it runs."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.variables import Variable
from phosphene_server.models.importers.torchscript.schemas import SCALAR_TYPES, TYPE_NUMBERS

DEVICE = torch.device("cpu")
"""The device that a program is told; the graph itself follows its input."""


def _is(program: Program, first: Any, second: Any) -> bool:
    return first is second


def _is_not(program: Program, first: Any, second: Any) -> bool:
    return first is not second


def _type_of(program: Program, value: Any) -> int:
    """Return the number of a tensor's type, as the language has it."""
    if not isinstance(value, Variable):
        value = program.emit.example(value)
        return TYPE_NUMBERS[{bool: torch.bool, int: torch.int64}.get(type(value), torch.float32)]
    example = program.emit.example(value.read())
    return TYPE_NUMBERS[torch.float32 if example is None else example.dtype]


def _is_floating(program: Program, value: Any) -> bool:
    return SCALAR_TYPES[_type_of(program, value)].is_floating_point


def _is_complex(program: Program, value: Any) -> bool:
    return SCALAR_TYPES[_type_of(program, value)].is_complex


def _shape(program: Program, value: Variable) -> Any:
    return program.run("size", {"self": value}, scope="")


def is_a(program: Program, value: Any, kind: str) -> bool:
    """Whether a value is of a type of the language, given as it writes it: `Tensor`, `int[]`, `Dict(str, int)`."""
    if program.emit.is_open(value):
        value = program.emit.example(value)
        value = 0 if value is None else value
    container = (
        list if kind.endswith("[]") else dict if kind.startswith("Dict(") else tuple if kind.startswith("(") else None
    )
    known = {"list": list, "tuple": tuple, "int": int, "float": float, "bool": bool, "str": str, "NoneType": type(None)}
    if kind == "Tensor":
        return isinstance(value, Variable)
    expected = container or known.get(kind)
    if expected is None:
        raise UnsupportedModel("", f"it asks whether something is a {kind}")
    return type(value) is expected


def _answer(value: Any) -> Callable[..., Any]:
    return lambda program, *arguments: value


QUESTIONS: Mapping[str, Callable[..., Any]] = {
    "aten::__is__": _is,
    "aten::__isnot__": _is_not,
    "aten::is_floating_point": _is_floating,
    "aten::is_complex": _is_complex,
    "prim::shape": _shape,
    "prim::dtype": _type_of,
    "prim::device": _answer(DEVICE),
    "aten::device": _answer(DEVICE),
    "prim::type": _answer("cpu"),
    "prim::index": _answer(None),
    "prim::layout": _answer(0),  # Strided.
    "prim::is_cuda": _answer(False),
    "prim::is_cpu": _answer(True),
    "prim::is_xpu": _answer(False),
    "prim::is_mps": _answer(False),
    "prim::is_mkldnn": _answer(False),
    "prim::is_quantized": _answer(False),
    "prim::is_sparse": _answer(False),
    "prim::is_nested": _answer(False),
    "prim::is_meta": _answer(False),
    # As for a caller who asks for gradients: the shorter ways that have none are not taken.
    "prim::requires_grad": _answer(True),
    "aten::requires_grad_": lambda program, value, *rest: value,
    "aten::is_contiguous": _answer(True),
    "prim::Uninitialized": _answer(None),
    "aten::is_autocast_enabled": _answer(False),
    "aten::is_scripting": _answer(True),
    "aten::is_tracing": _answer(False),
    "prim::name": lambda program, value: value.name,
    "prim::EnumName": lambda program, value: value.name,
    "prim::EnumValue": lambda program, value: value.value,
}

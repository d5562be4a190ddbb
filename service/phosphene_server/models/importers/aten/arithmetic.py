"""Arithmetic, elementwise functions and comparisons, of tensors and of the numbers that sizes are."""

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator, direct


def binary(kind: str, tensors: Callable[..., Any], numbers: Callable[[Any, Any], Any]) -> Operator:
    """Make a row for an operation of two values, `self` and `other`, each a tensor or a number."""

    def lower(emit: Emitter, a: Arguments) -> Any:
        return _apply(emit, tensors, numbers, a["self"], a["other"])

    return Operator(kind, lower)


def _apply(
    emit: Emitter, tensors: Callable[..., Any], numbers: Callable[[Any, Any], Any], first: Any, second: Any
) -> Any:
    if emit.is_tensor(first):
        return emit.call(tensors, first, second)
    # torch functions want a tensor first; Python's operators take them in any order.
    return emit.call(numbers, first, second) if emit.is_tensor(second) else emit.number(numbers, first, second)


def _add(emit: Emitter, a: Arguments) -> Any:
    return _apply(emit, torch.add, operator.add, a["self"], _scaled(emit, a["other"], a.get("alpha", 1)))


def _subtract(emit: Emitter, a: Arguments) -> Any:
    return _apply(emit, torch.sub, operator.sub, a["self"], _scaled(emit, a["other"], a.get("alpha", 1)))


def _subtract_from(emit: Emitter, a: Arguments) -> Any:
    return _apply(emit, torch.sub, operator.sub, a["other"], _scaled(emit, a["self"], a.get("alpha", 1)))


def _scaled(emit: Emitter, value: Any, factor: Any) -> Any:
    return value if factor == 1 else _apply(emit, torch.mul, operator.mul, value, factor)


def _divide(emit: Emitter, a: Arguments) -> Any:
    mode = a.get("rounding_mode")
    if mode is None:
        return _apply(emit, torch.div, operator.truediv, a["self"], a["other"])
    if emit.is_tensor(a["self"]):
        return emit.call(torch.div, a["self"], a["other"], rounding_mode=mode)
    return emit.number(operator.floordiv if mode == "floor" else _truncated_quotient, a["self"], a["other"])


def _truncated_quotient(first: Any, second: Any) -> int:
    return int(first / second)


def _addcmul(emit: Emitter, a: Arguments) -> Any:
    return emit.call(torch.addcmul, a["self"], a["tensor1"], a["tensor2"], value=a.get("value", 1))


def unary(kind: str, tensors: Callable[..., Any], numbers: Callable[[Any], Any] | None = None) -> Operator:
    """Make a row for an elementwise function of `self`, a tensor or, where `numbers` is given, a number."""

    def lower(emit: Emitter, a: Arguments) -> Any:
        if numbers is not None and not emit.is_tensor(a["self"] if "self" in a else a["a"]):
            return emit.number(numbers, a["self"] if "self" in a else a["a"])
        return emit.call(tensors, a["self"])

    return Operator(kind, lower)


def _unary_rows(kinds: Mapping[str, str]) -> dict[str, Operator]:
    """Return rows for functions of one tensor that torch has under the operator's name."""
    return {name: unary(kind, getattr(torch, name)) for name, kind in kinds.items()}


def _interpolate(emit: Emitter, a: Arguments) -> Any:
    return emit.call(torch.lerp, a["self"], a["end"], a["weight"])


def _power(emit: Emitter, a: Arguments) -> Any:
    return _apply(emit, torch.pow, operator.pow, a["self"], a["exponent"])


FUNCTIONS: Mapping[str, str] = {
    "tan": "tangent",
    "asin": "arcsine",
    "acos": "arccosine",
    "atan": "arctangent",
    "sinh": "hyperbolic_sine",
    "cosh": "hyperbolic_cosine",
    "asinh": "inverse_hyperbolic_sine",
    "acosh": "inverse_hyperbolic_cosine",
    "atanh": "inverse_hyperbolic_tangent",
    "expm1": "exponential",
    "exp2": "exponential",
    "log2": "logarithm",
    "log10": "logarithm",
    "erfc": "error_function",
    "erfinv": "error_function",
    "sinc": "sine",
    "logit": "logarithm",
    "lgamma": "gamma_function",
    "frac": "rounding",
    "sgn": "sign",
    "isnan": "comparison",
    "isinf": "comparison",
    "isfinite": "comparison",
    "positive": "identity",
}
"""Functions of one tensor -> kind of layer."""

OPERATORS: dict[str, Operator] = {
    "add": Operator("addition", _add),
    "sub": Operator("subtraction", _subtract),
    "rsub": Operator("subtraction", _subtract_from),
    "mul": binary("multiplication", torch.mul, operator.mul),
    "div": Operator("division", _divide),
    "true_divide": Operator("division", _divide),
    "floor_divide": binary("division", torch.floor_divide, operator.floordiv),
    "remainder": binary("remainder", torch.remainder, operator.mod),
    "pow": Operator("power", _power),
    "fmod": binary("remainder", torch.fmod, math.fmod),
    "atan2": direct("arctangent", torch.atan2, "self", "other"),
    "hypot": direct("norm", torch.hypot, "self", "other"),
    "logaddexp": direct("log_sum_exp", torch.logaddexp, "self", "other"),
    "float_power": direct("power", torch.float_power, "self", "exponent"),
    "heaviside": direct("comparison", torch.heaviside, "self", "values"),
    "lerp": Operator("addition", _interpolate),
    "addcdiv": direct("addition", torch.addcdiv, "self", "tensor1", "tensor2", keywords=("value",)),
    "nan_to_num": direct("selection", torch.nan_to_num, "self", "nan", "posinf", "neginf"),
    "logical_xor": binary("logic", torch.logical_xor, operator.xor),
    "bitwise_and": binary("logic", torch.bitwise_and, operator.and_),
    "bitwise_or": binary("logic", torch.bitwise_or, operator.or_),
    "bitwise_xor": binary("logic", torch.bitwise_xor, operator.xor),
    "__and__": binary("logic", torch.bitwise_and, operator.and_),
    "__or__": binary("logic", torch.bitwise_or, operator.or_),
    "__xor__": binary("logic", torch.bitwise_xor, operator.xor),
    **_unary_rows(FUNCTIONS),
    "addcmul": Operator("addition", _addcmul),
    "maximum": binary("maximum", torch.maximum, max),
    "minimum": binary("minimum", torch.minimum, min),
    "eq": binary("comparison", torch.eq, operator.eq),
    "ne": binary("comparison", torch.ne, operator.ne),
    "lt": binary("comparison", torch.lt, operator.lt),
    "le": binary("comparison", torch.le, operator.le),
    "gt": binary("comparison", torch.gt, operator.gt),
    "ge": binary("comparison", torch.ge, operator.ge),
    "logical_and": binary("logic", torch.logical_and, operator.and_),
    "logical_or": binary("logic", torch.logical_or, operator.or_),
    "logical_not": unary("logic", torch.logical_not),
    "bitwise_not": unary("logic", torch.bitwise_not),
    "neg": unary("negation", torch.neg, operator.neg),
    "abs": unary("absolute_value", torch.abs, abs),
    "exp": unary("exponential", torch.exp),
    "log": unary("logarithm", torch.log, math.log),
    "log1p": unary("logarithm", torch.log1p),
    "sqrt": unary("square_root", torch.sqrt, math.sqrt),
    "rsqrt": unary("square_root", torch.rsqrt),
    "square": unary("power", torch.square),
    "reciprocal": unary("division", torch.reciprocal),
    "sin": unary("sine", torch.sin),
    "cos": unary("cosine", torch.cos),
    "erf": unary("error_function", torch.erf),
    "floor": unary("rounding", torch.floor, math.floor),
    "ceil": unary("rounding", torch.ceil, math.ceil),
    "round": unary("rounding", torch.round, round),
    "trunc": unary("rounding", torch.trunc, math.trunc),
    "sign": unary("sign", torch.sign),
    "clamp": direct("clip", torch.clamp, "self", keywords=("min", "max")),
    "clamp_min": Operator("clip", lambda emit, a: emit.call(torch.clamp, a["self"], min=a["min"])),
    "clamp_max": Operator("clip", lambda emit, a: emit.call(torch.clamp, a["self"], max=a["max"])),
    "where": direct("selection", torch.where, "condition", "self", "other"),
    "masked_fill": direct("selection", torch.masked_fill, "self", "mask", "value"),
}

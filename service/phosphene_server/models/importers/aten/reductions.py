"""Reductions over axes. A type asked for is left out: the graph computes in the type of its input throughout."""

from collections.abc import Callable
from typing import Any

import torch

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator, direct
from phosphene_server.models.importers.aten.shapes import Several


def _over_axes(kind: str, function: Callable[..., Any]) -> Operator:
    def lower(emit: Emitter, a: Arguments) -> Any:
        if not a.get("dim"):
            return emit.call(function, a["self"])
        return emit.call(function, a["self"], a["dim"], keepdim=a.get("keepdim", False))

    return Operator(kind, lower)


def _over_axis(kind: str, function: Callable[..., Any]) -> Operator:
    """Make a row for what torch reduces along one axis or all; the first axis is number 0."""

    def lower(emit: Emitter, a: Arguments) -> Any:
        if a.get("dim") is None:
            return emit.call(function, a["self"])
        return emit.call(function, a["self"], a["dim"], keepdim=a.get("keepdim", False))

    return Operator(kind, lower)


def _cumulative(kind: str, function: Callable[..., Any]) -> Operator:
    def lower(emit: Emitter, a: Arguments) -> Any:
        both = emit.call(function, a["self"], a["dim"])
        return emit.item(both, 0), emit.item(both, 1)

    return Operator(kind, lower)


def _extreme(kind: str, function: Callable[..., Any]) -> Operator:
    """Make a row for `max` or `min`: of everything, along an axis with the places, or of two tensors."""

    def lower(emit: Emitter, a: Arguments) -> Any:
        if "other" in a:
            return emit.call(function, a["self"], a["other"])
        if "dim" not in a:
            return emit.call(function, a["self"])
        both = emit.call(function, a["self"], a["dim"], keepdim=a.get("keepdim", False))
        return emit.item(both, 0), emit.item(both, 1)

    return Operator(kind, lower)


def _spread(kind: str, function: Callable[..., Any]) -> Operator:
    """Make a row for `var` or `std`, whose older overload says `unbiased` where the newer says `correction`."""

    def lower(emit: Emitter, a: Arguments) -> Any:
        correction = a.get("correction", 1 if a.get("unbiased", True) else 0)
        correction = 1 if correction is None else correction
        return emit.call(function, a["self"], a.get("dim"), correction=correction, keepdim=a.get("keepdim", False))

    return Operator(kind, lower)


def _norm(emit: Emitter, a: Arguments) -> Any:
    order = a["p"] if "p" in a else a.get("ord", 2)
    return emit.call(
        torch.linalg.vector_norm, a["self"], 2 if order is None else order, a.get("dim"), a.get("keepdim", False)
    )


def _top(emit: Emitter, a: Arguments) -> Any:
    return Several(emit.call(torch.topk, a["self"], a["k"], a.get("dim", -1), a.get("largest", True)))


def _spread_and_mean(kind: str, function: Callable[..., Any]) -> Operator:
    spread, mean = _spread(kind, function), _over_axes("mean", torch.mean)
    return Operator(kind, lambda emit, a: (spread.lower(emit, a), mean.lower(emit, a)))


def _both_extremes(emit: Emitter, a: Arguments) -> Any:
    # One by one, for torch 2.11 has no derivative of both at once.
    axes, keep = a.get("dim"), a.get("keepdim", False)
    return tuple(emit.call(each, a["self"], () if axes is None else axes, keep) for each in (torch.amin, torch.amax))


OPERATORS: dict[str, Operator] = {
    "mean": _over_axes("mean", torch.mean),
    "sum": _over_axes("sum", torch.sum),
    "amax": _over_axes("maximum", torch.amax),
    "amin": _over_axes("minimum", torch.amin),
    "max": _extreme("maximum", torch.max),
    "min": _extreme("minimum", torch.min),
    "argmax": direct("position_of_maximum", torch.argmax, "self", "dim", "keepdim"),
    "argmin": direct("position_of_minimum", torch.argmin, "self", "dim", "keepdim"),
    "var": _spread("variance", torch.var),
    "std": _spread("standard_deviation", torch.std),
    "var_mean": _spread_and_mean("variance", torch.var),
    "std_mean": _spread_and_mean("standard_deviation", torch.std),
    "median": _extreme("median", torch.median),
    "aminmax": Operator("maximum", _both_extremes),
    "prod": _over_axis("product", torch.prod),
    "any": _over_axes("logic", torch.any),
    "all": _over_axes("logic", torch.all),
    "cumprod": direct("cumulative_product", torch.cumprod, "self", "dim"),
    "cummax": _cumulative("maximum", torch.cummax),
    "cummin": _cumulative("minimum", torch.cummin),
    "frobenius_norm": Operator("norm", _norm),
    "norm": Operator("norm", _norm),
    "linalg_vector_norm": Operator("norm", _norm),
    "logsumexp": direct("log_sum_exp", torch.logsumexp, "self", "dim", "keepdim"),
    "cumsum": direct("cumulative_sum", torch.cumsum, "self", "dim"),
    "topk": Operator("top_k", _top),
}

"""Pooling. An empty stride means the size of the window."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator


def _max_pool(function: Callable[..., Any]) -> Operator:
    def lower(emit: Emitter, a: Arguments) -> Any:
        stride, padding, dilation = a.get("stride") or None, a.get("padding", 0), a.get("dilation", 1)
        return emit.call(
            function, a["self"], a["kernel_size"], stride, padding, dilation, ceil_mode=a.get("ceil_mode", False)
        )

    return Operator("max_pool", lower)


def _average_pool(function: Callable[..., Any]) -> Operator:
    def lower(emit: Emitter, a: Arguments) -> Any:
        arguments = [a["self"], a["kernel_size"], a.get("stride") or None, a.get("padding", 0)]
        arguments += [a.get("ceil_mode", False), a.get("count_include_pad", True)]
        if a.get("divisor_override") is not None:
            arguments.append(a["divisor_override"])
        return emit.call(function, *arguments)

    return Operator("average_pool", lower)


def _adaptive(kind: str, function: Callable[..., Any]) -> Operator:
    return Operator(kind, lambda emit, a: emit.call(function, a["self"], a["output_size"]))


def _without_indices(row: Operator) -> Operator:
    """Make a row for the form that also returns where each maximum was, which no network needs to be shown."""
    return Operator(row.kind, lambda emit, a: (row.lower(emit, a), None))


OPERATORS: dict[str, Operator] = {
    "max_pool1d": _max_pool(F.max_pool1d),
    "max_pool2d": _max_pool(F.max_pool2d),
    "max_pool3d": _max_pool(F.max_pool3d),
    "max_pool1d_with_indices": _without_indices(_max_pool(F.max_pool1d)),
    "max_pool2d_with_indices": _without_indices(_max_pool(F.max_pool2d)),
    "max_pool3d_with_indices": _without_indices(_max_pool(F.max_pool3d)),
    "avg_pool1d": _average_pool(F.avg_pool1d),
    "avg_pool2d": _average_pool(F.avg_pool2d),
    "avg_pool3d": _average_pool(F.avg_pool3d),
    "adaptive_avg_pool1d": _adaptive("average_pool", F.adaptive_avg_pool1d),
    "adaptive_avg_pool2d": _adaptive("average_pool", F.adaptive_avg_pool2d),
    "adaptive_avg_pool3d": _adaptive("average_pool", F.adaptive_avg_pool3d),
    "_adaptive_avg_pool2d": _adaptive("average_pool", F.adaptive_avg_pool2d),
    "_adaptive_avg_pool3d": _adaptive("average_pool", F.adaptive_avg_pool3d),
    "adaptive_max_pool1d": _without_indices(_adaptive("max_pool", F.adaptive_max_pool1d)),
    "adaptive_max_pool2d": _without_indices(_adaptive("max_pool", F.adaptive_max_pool2d)),
    "adaptive_max_pool3d": _without_indices(_adaptive("max_pool", F.adaptive_max_pool3d)),
}

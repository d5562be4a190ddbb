"""A way up where rectifiers block the gradient.

Where the input of a rectifier is negative, its gradient is zero. A neuron that is silent everywhere in the first,
nearly gray picture gives the ascent no direction at all, and it never starts:

    output      /            gradient      ┌───── 1
               /                           │
     _________/              0 ────────────┘

So during the first steps, and only for a picture to which a rectifier would pass nothing, the gradient is passed where
it would lift a silent input. The trap: as a general rule this would follow a wrong gradient, for other inputs, that
are not silent, would be paid for it; so it ends as soon as anything passes, and for good after `REDIRECTED_STEPS`.

References:
    Mordvintsev, `misc/redirected_relu_grad.py` in Lucid, https://github.com/tensorflow/lucid, 2018.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from phosphene_server.models.batching import evaluate_in_chunks
from phosphene_server.models.graph import CutGraph

REDIRECTED_STEPS = 16
"""As in Lucid. Later a blocked gradient means a bad crop, and the next one is better."""

Bounds = tuple[float | None, float | None]


def _relu_bounds(*_: Any, **__: Any) -> Bounds:
    return 0.0, None


def _relu6_bounds(*_: Any, **__: Any) -> Bounds:
    return 0.0, 6.0


def _hardtanh_bounds(_: Any, min_val: float = -1.0, max_val: float = 1.0, **__: Any) -> Bounds:
    return min_val, max_val


def _clamp_bounds(_: Any, min: float | None = None, max: float | None = None) -> Bounds:
    return min, max


RECTIFIERS: Mapping[Callable[..., Any], Callable[..., Bounds]] = {
    torch.relu: _relu_bounds,
    F.relu: _relu_bounds,
    torch.ops.aten.relu: _relu_bounds,
    torch.ops.aten.relu.default: _relu_bounds,
    F.relu6: _relu6_bounds,
    torch.ops.aten.relu6: _relu6_bounds,
    torch.ops.aten.relu6.default: _relu6_bounds,
    F.hardtanh: _hardtanh_bounds,
    torch.ops.aten.hardtanh: _hardtanh_bounds,
    torch.ops.aten.hardtanh.default: _hardtanh_bounds,
    torch.clamp: _clamp_bounds,
    torch.ops.aten.clamp: _clamp_bounds,
    torch.ops.aten.clamp.default: _clamp_bounds,
}
"""The functions that rectify, and where each of them, called with its arguments, is flat: below and above."""


class RedirectingGraph(fx.Interpreter):
    """Evaluates a cut graph with rectifiers that are redirected for some pictures."""

    def __init__(self, graph: CutGraph, redirected: Tensor) -> None:
        """Take the graph and, for each picture of the batch, whether it is redirected: bool, (batch,)."""
        super().__init__(graph.module)
        self._graph = graph
        self._redirected = redirected

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Evaluate the layers, as the cut graph does."""
        values = evaluate_in_chunks(self._run_chunk, (*inputs, self._redirected), self._graph.batching)
        return dict(zip(self._graph.layers, values, strict=True))

    def _run_chunk(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Evaluate the graph on as many pictures as it takes; the last input says which of them are redirected."""
        *own, self._redirected = inputs
        values: tuple[Tensor, ...] = self.run(*own)
        return values

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Evaluate one operation of the graph."""
        bounds = RECTIFIERS.get(target)
        if bounds is None or not isinstance(args[0], Tensor) or not args[0].requires_grad:
            return super().call_function(target, args, kwargs)
        if args[0].shape[:1] != self._redirected.shape:
            return super().call_function(target, args, kwargs)  # its first axis is not the pictures
        low, high = bounds(*args, **kwargs)
        preactivation = args[0].view_as(args[0])  # a node of its own: its gradient is what this rectifier passes
        output = super().call_function(target, (preactivation, *args[1:]), kwargs)
        _redirect(preactivation, output, self._redirected, low=low, high=high)
        return output


def _redirect(
    preactivation: Tensor, output: Tensor, redirected: Tensor, *, low: float | None, high: float | None
) -> None:
    """Replace the gradient that a rectifier passes, for the pictures that are redirected and get nothing through it.

    Gradients are those of what is maximised: a positive one asks for more.
    """
    wanted: list[Tensor] = []

    def replace(passed: Tensor) -> Tensor:
        gradient = wanted.pop()
        harmful = torch.zeros_like(gradient, dtype=torch.bool)
        if low is not None:
            harmful |= (preactivation <= low) & (gradient < 0)
        if high is not None:
            harmful |= (preactivation >= high) & (gradient > 0)
        blocked = redirected & ~passed.flatten(1).any(dim=1)
        return torch.where(blocked.reshape(-1, *[1] * (passed.dim() - 1)), gradient.masked_fill(harmful, 0), passed)

    output.register_hook(wanted.append)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    preactivation.register_hook(replace)  # type: ignore[no-untyped-call]  # torch leaves it untyped

"""The gradient of a graph against differences of its own values.

Autograd's derivative of one number made of the outputs, along a direction in the space of inputs, is compared with the
central difference along it. In float64 the two agree to many digits, unless an operation has a gradient that is not
that of its value: quantization, whose steps have none, is given a straight-through one on purpose.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from phosphene_server.models.batching import first_chunk
from phosphene_server.models.graph import ModelGraph

STEPS = (1e-7, 1e-8, 1e-5, 1e-3)
"""Half widths of the central difference, in units of the input, in the order in which they are tried. The first is so
short that hardly a ReLU changes sides within it (at 1e-5 some do, and trained networks seem wrong by percents), and so
long that float64 has digits left; the long ones suit networks in which something is computed in float32."""

GOOD = 1e-4
"""Relative error at which no other width is tried."""

SEED = 20170711

TINY = 1e-9
"""Derivatives below this part of the outputs' size are rounding noise."""


@dataclass(frozen=True)
class GradientCheck:
    """How well autograd and central differences agree."""

    relative_error: float
    """The worst over the directions; infinite where a gradient is missing or no number."""
    derivative: float
    """Autograd's derivative along the worst direction."""
    directions: int
    reaches_input: bool
    """False where no output depends on the input differentiably."""


def check_gradient(
    graph: ModelGraph, inputs: Sequence[Tensor], *, varied: int = 0, directions: int = 2
) -> GradientCheck:
    """Compare autograd with central differences in float64, along random directions of one input.

    Args:
        graph: The graph; a copy of it is evaluated.
        inputs: Its inputs, as it takes them.
        varied: The position of the input, of floating-point numbers, that is varied.
        directions: How many directions; each costs two evaluations at least.
    """
    module = copy.deepcopy(graph.module).cpu().double()
    fitting = first_chunk([tensor.detach().cpu() for tensor in inputs], graph.batching)
    given = [tensor.double() if tensor.is_floating_point() else tensor for tensor in fitting]
    generator = torch.Generator().manual_seed(SEED)
    projection = _Projection(module, given, varied, generator)
    start = given[varied].clone().requires_grad_(given[varied].is_floating_point())
    value = projection(start)
    gradient = torch.autograd.grad(value, start, allow_unused=True)[0] if value.requires_grad else None
    if gradient is None:
        return GradientCheck(float("inf"), 0.0, 0, reaches_input=False)
    rows = []
    for _ in range(directions):
        direction = torch.randint(0, 2, start.shape, generator=generator).double() * 2 - 1
        derivative = float((gradient * direction).sum())
        rows.append((_smallest_error(projection, start.detach(), direction, derivative), derivative))
    error, derivative = max(rows)
    return GradientCheck(error, derivative, directions, reaches_input=bool(gradient.abs().max() > 0))


class _Projection:
    """One number made of all floating-point outputs: a weighted sum with weights that are drawn once."""

    def __init__(
        self, module: fx.GraphModule, inputs: Sequence[Tensor], varied: int, generator: torch.Generator
    ) -> None:
        self._module = module
        self._inputs = inputs
        self._varied = varied
        self._generator = generator
        self._weights: list[Tensor] = []

    def __call__(self, value: Tensor) -> Tensor:
        inputs = [value if position == self._varied else other for position, other in enumerate(self._inputs)]
        outputs = [output for output in self._module(*inputs) if output.is_floating_point()]
        if not self._weights:
            self._weights = [
                torch.randn(output.shape, generator=self._generator, dtype=torch.float64)
                / max(output.numel(), 1) ** 0.5
                for output in outputs
            ]
        parts = [(output.double() * weight).sum() for output, weight in zip(outputs, self._weights, strict=True)]
        return torch.stack(parts).sum() if parts else torch.zeros(())


def _smallest_error(projection: _Projection, start: Tensor, direction: Tensor, derivative: float) -> float:
    """Return the relative error at the best of the widths."""
    best = float("inf")
    for step in STEPS:
        with torch.no_grad():
            above, below = float(projection(start + step * direction)), float(projection(start - step * direction))
        difference = (above - below) / (2 * step)
        size = max(abs(derivative), abs(difference), TINY * max(abs(above), abs(below), 1.0))
        error = abs(derivative - difference) / size
        best = min(best, error if error == error else float("inf"))
        if best <= GOOD:
            break
    return best

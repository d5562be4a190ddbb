"""What changes from step to step, a row for each picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from phosphene_server.maximization.optimizers import Memory
from phosphene_server.maximization.plan import BLOCK_STEPS, Plan

Tree = TypeVar("Tree")


@dataclass(frozen=True, eq=False)
class LaneState:
    """The state of some pictures. A step changes the tensors in place, so parts of them stay parts of them."""

    parameters: Tensor
    """(picture, ...): the numbers behind the pictures."""
    memory: Memory
    """What the optimizer remembers; each tensor (picture, ...)."""
    steps: Tensor
    """int64 (picture,): steps done."""
    silence: Tensor
    """int64 (picture,): for how many steps in a row the objective has had no gradient."""
    left_out: Tensor
    """int64 (picture,): steps that moved nothing because a number was not finite."""
    recent: Tensor
    """(picture, step): the objective at each step of this block, as the transformed pictures reached it."""
    plan: Plan
    """This block of steps."""


def first_state(parameters: Tensor, memory: Memory, plan: Plan) -> LaneState:
    """Return the state of pictures before their first step."""
    count, device = len(parameters), parameters.device
    recent = torch.full((count, BLOCK_STEPS), torch.nan, dtype=parameters.dtype, device=device)
    steps, silence, left_out = (torch.zeros(count, dtype=torch.int64, device=device) for _ in range(3))
    return LaneState(parameters, memory, steps, silence, left_out, recent, plan)


def stacked(states: Sequence[LaneState]) -> LaneState:
    """Return the states of several pictures' groups as one, in new memory."""
    return mapped(lambda *parts: torch.cat(parts), *states)


def part(state: LaneState, first: int, count: int) -> LaneState:
    """Return the state of some of the pictures: views."""
    return mapped(lambda tensor: tensor.narrow(0, first, count), state)


def mapped(function: Callable[..., Tensor], *trees: Tree) -> Tree:
    """Apply a function to the tensors that stand at the same place in data classes and mappings of the same form."""
    first, every = cast("Any", trees[0]), cast("Sequence[Any]", trees)
    changed: Any
    if isinstance(first, Tensor):
        changed = function(*every)
    elif isinstance(first, Mapping):
        changed = {name: mapped(function, *(tree[name] for tree in every)) for name in first}
    else:
        names = [entry.name for entry in fields(first)]
        changed = type(first)(*(mapped(function, *(getattr(tree, name) for tree in every)) for name in names))
    return cast("Tree", changed)

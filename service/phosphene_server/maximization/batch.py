"""The pictures of several jobs, stacked, and the step that moves them together.

    parameters ─decode─> pictures ─transforms─> seen ─preprocess─> input ─network─> activations ─> objective
        ^                    └──────────────────── penalties ───────────────────────────────────────┤
        └─────────────────────────────── optimizer <── gradient <───────────────────────────────────┘

The side of the pictures is computed section by section, objectives run by run (see layout.py), the network once for
all. As long as the same jobs are stepped together they stay stacked, and a step is nothing but operations on tensors
that stay where they are: it sends nothing to the device, asks nothing of it, and can be captured.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from phosphene_server.maximization import layout
from phosphene_server.maximization.layout import Cell
from phosphene_server.maximization.section import Section
from phosphene_server.maximization.state import LaneState, part
from phosphene_server.models.inputs import Reading, feed
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values.maximization import Precision

REDIRECTED_STEPS = 16
"""For how many steps blocked gradients are redirected (see models/lowering/rectifiers.py); as in Lucid.

Later a blocked gradient means a bad crop, and the next one is better.
"""


class Batch:
    """Lanes of one group, stacked."""

    def __init__(self, model: LoadedModel, precision: Precision, cells: Sequence[Cell]) -> None:
        """Stack the lanes of some cells; their states are copied."""
        self._reading, self._dtype = model.reading, model.dtype
        recipes = [cell.recipe for cell in cells]
        self._graph = model.lowered(frozenset().union(*(recipe.objective.layers for recipe in recipes)), precision)
        self._sections = [Section(own) for own in layout.sections(cells)]
        self._objectives = [own[0].recipe.objective for own in layout.runs(cells)]
        self._numbers = [layout.objective_numbers(own, model.device) for own in layout.runs(cells)]
        others, shared = self._reading.others, model.graph.batching.shared
        self._shared = [entry.name for position, entry in others.items() if position in shared]
        self._others = layout.stacked_inputs(cells, shared=self._shared)
        self.states = self._parts(cells)
        """The parts of what is stacked here that are each member's, cell by cell; a step changes them in place."""

    def holds(self, states: Sequence[LaneState]) -> bool:
        """Tell whether some states are those of all the members, and of no other."""
        return {id(state) for state in states} == {id(state) for state in self.states}

    def seat(self, cells: Sequence[Cell]) -> None:
        """Take the lanes of other cells of the same form in place of those that are here, in the same memory."""
        for section, own in zip(self._sections, layout.sections(cells), strict=True):
            section.seat(own)
        for numbers, own in zip(self._numbers, layout.runs(cells), strict=True):
            numbers.copy_(layout.objective_numbers(own, numbers.device))
        for name, value in layout.stacked_inputs(cells, shared=self._shared).items():
            self._others[name].copy_(value)
        self.states = self._parts(cells)

    def step(self, *, redirected: bool) -> None:
        """Move all lanes one step up.

        Args:
            redirected: Whether any of them is within its first `REDIRECTED_STEPS`.
        """
        shown = [section.show() for section in self._sections]
        seen = _joined([one.seen for one in shown])
        objective = self._objective(self._activations(seen, self._redirected() if redirected else None)).to(seen.dtype)
        total = objective.sum() - sum(one.penalty for one in shown if one.penalty is not None)
        *gradients, sight = torch.autograd.grad(total, [*(one.parameters for one in shown), seen])
        sizes = [len(one.seen) for one in shown]
        parts = zip(torch.split(objective.detach(), sizes), torch.split(sight, sizes), strict=True)
        moves = [
            section.move(one, gradient, *own)
            for section, one, gradient, own in zip(self._sections, shown, gradients, parts, strict=True)
        ]
        for section, move in zip(self._sections, moves, strict=True):
            section.accept(move)

    def _parts(self, cells: Sequence[Cell]) -> list[LaneState]:
        """Cut the states of the sections into those of the members."""
        parts = []
        for section, own in zip(self._sections, layout.sections(cells), strict=True):
            first = 0
            for cell in own:
                for member in cell.members:
                    parts.append(part(section.state, first, member.pictures))
                    first += member.pictures
                first += cell.spare
        return parts

    def _redirected(self) -> Tensor:
        return torch.cat([section.state.steps for section in self._sections]) < REDIRECTED_STEPS

    def _activations(self, seen: Tensor, redirected: Tensor | None) -> dict[str, Tensor]:
        return self._graph(*network_inputs(self._reading, self._dtype, seen, self._others), redirected=redirected)

    def _objective(self, activations: Mapping[str, Tensor]) -> Tensor:
        """Return the objective of each lane, computing that of each run at once."""
        if len(self._objectives) == 1:
            return self._objectives[0].evaluate(activations, self._numbers[0])
        sizes = [len(numbers) for numbers in self._numbers]
        # One split for each layer: its gradient is one concatenation; slices would each fill a whole layer with zeros.
        parts = {layer: torch.split(activation, sizes) for layer, activation in activations.items()}
        values = [
            objective.evaluate({layer: parts[layer][index] for layer in objective.layers}, self._numbers[index])
            for index, objective in enumerate(self._objectives)
        ]
        return torch.cat(values)


def network_inputs(
    reading: Reading, dtype: torch.dtype, seen: Tensor, others: Mapping[str, Tensor]
) -> tuple[Tensor, ...]:
    """Return the inputs of a model for pictures as it is to see them, and what goes with them.

    The pictures are in the model's type and in the layout in which convolutions are fastest.
    """
    inputs = list(feed(reading, seen, others))
    assert reading.picture is not None, "preparation refuses models that read no pictures"
    inputs[reading.picture] = inputs[reading.picture].to(dtype, memory_format=torch.channels_last)
    return tuple(inputs)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))

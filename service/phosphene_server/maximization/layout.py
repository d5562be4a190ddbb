"""Where the lanes of a batch are.

Jobs whose pictures are computed alike in every respect lie together in a *cell*. Cells that are computed alike on the
side of the pictures lie next to one another: a *section*; so do, where that allows it, those whose objectives are
computed alike: a *run*.

    job      a a c b b b d         a, b and c are decoded alike, a and c have the same kind of objective
    cell     1 1 1│2 2 2│3
    section  1 1 1 1 1 1│2
    run      1 1 1│2 2 2 2         so have b and d

A cell may be larger than its jobs: the lanes that are left over repeat the last picture, and nobody looks at them. So
batches of a few sizes serve all numbers of lanes, and what was captured for one composition serves many.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from phosphene_server.maximization.recipe import Recipe
from phosphene_server.maximization.state import LaneState, part, stacked

BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of lanes of which a cell may have; each at most half more than the one before. Larger cells are exact."""


@dataclass(frozen=True, eq=False)
class Member:
    """The pictures of one job."""

    recipe: Recipe
    state: LaneState
    others: dict[str, Tensor]
    """The inputs of the model that are no picture, by name."""

    @property
    def pictures(self) -> int:
        """Their number."""
        return len(self.state.steps)


@dataclass(frozen=True, eq=False)
class Cell:
    """Jobs whose pictures are computed alike."""

    members: tuple[Member, ...]
    lanes: int
    """At least as many as the members have pictures."""

    @property
    def spare(self) -> int:
        """Lanes that repeat the last picture."""
        return self.lanes - sum(member.pictures for member in self.members)

    @property
    def recipe(self) -> Recipe:
        """That of one of its jobs."""
        return self.members[0].recipe

    def recipes(self) -> list[Recipe]:
        """Return the recipe of each lane."""
        own = [member.recipe for member in self.members for _ in range(member.pictures)]
        return own + own[-1:] * self.spare

    def states(self) -> list[LaneState]:
        """Return the states of all lanes, in parts."""
        last = self.members[-1]
        own = [member.state for member in self.members]
        return own + [part(last.state, last.pictures - 1, 1)] * self.spare

    def others(self, name: str) -> list[Tensor]:
        """Return one of the inputs that are no picture, for all lanes, in parts."""
        own = [member.others[name] for member in self.members]
        return own + [own[-1][-1:]] * self.spare


def exactly(lanes: int) -> int:
    """Return as many lanes as there are: no lane is left over."""
    return lanes


def bucket(lanes: int) -> int:
    """Return the smallest number of lanes that a batch for any composition has."""
    return next((size for size in BUCKETS if size >= lanes), lanes)


def arranged(members: Sequence[Member], room: Callable[[int], int]) -> list[Cell]:
    """Lay out the lanes of a batch.

    Args:
        members: The jobs, in any order; those of a cell keep it.
        room: The number of pictures of a cell to its number of lanes.
    """
    outer: dict[Hashable, dict[Hashable, list[Member]]] = {}
    for member in members:
        recipe = member.recipe
        outer.setdefault(recipe.section_key, {}).setdefault(recipe.objective_key, []).append(member)
    return [_cell(own, room) for inner in outer.values() for own in inner.values()]


def _cell(members: Sequence[Member], room: Callable[[int], int]) -> Cell:
    pictures = sum(member.pictures for member in members)
    coupled = members[0].recipe.coupled  # pictures that look at one another would see those that are left over
    return Cell(tuple(members), pictures if coupled else room(pictures))


def sections(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cut a row of cells into sections."""
    return [list(own) for _, own in groupby(cells, lambda cell: cell.recipe.section_key)]


def runs(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cut a row of cells into runs."""
    return [list(own) for _, own in groupby(cells, lambda cell: cell.recipe.objective_key)]


def form(cells: Sequence[Cell]) -> Hashable:
    """Return what must be equal for the lanes of one batch to take the places of those of another."""
    return tuple((cell.recipe.section_key, cell.recipe.objective_key, cell.lanes) for cell in cells)


def stacked_states(cells: Sequence[Cell]) -> LaneState:
    """Return the states of all lanes of a section, in new memory."""
    return stacked([state for cell in cells for state in cell.states()])


def stacked_inputs(cells: Sequence[Cell], *, shared: Sequence[str]) -> dict[str, Tensor]:
    """Return the inputs that are no picture for all lanes, in new memory; `shared` ones have no batch axis."""
    first = cells[0].members[0].others
    return {
        name: value.clone() if name in shared else torch.cat([row for cell in cells for row in cell.others(name)])
        for name, value in first.items()
    }


def objective_numbers(cells: Sequence[Cell], device: torch.device) -> Tensor:
    """Return the numbers of the objectives of all lanes of a run, float64 (lane, n)."""
    rows = [recipe.objective.numbers for cell in cells for recipe in cell.recipes()]
    return torch.tensor(rows, dtype=torch.float64).to(device)

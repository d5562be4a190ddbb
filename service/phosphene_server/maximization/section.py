"""The lanes of a batch that are decoded, shown, penalized and moved alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from phosphene_server.maximization.layout import Cell, stacked_states
from phosphene_server.maximization.optimizers import Memory
from phosphene_server.maximization.plan import BLOCK_STEPS
from phosphene_server.maximization.state import mapped


@dataclass(frozen=True)
class Shown:
    """Pictures on their way to the network; gradients reach `parameters`."""

    parameters: Tensor
    seen: Tensor
    """(picture, 3, height, width): what the network sees."""
    penalty: Tensor | None
    """What is subtracted from the sum of all objectives; None: nothing."""
    optimizer: Tensor
    """(picture, n): the numbers of the optimizer for this step."""


@dataclass(frozen=True)
class Move:
    """Where a step leads."""

    parameters: Tensor
    memory: Memory
    objective: Tensor
    silent: Tensor
    finite: Tensor


class Section:
    """Some lanes of one batch, whose recipes have equal section keys."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        """Stack the lanes of some cells."""
        recipe = cells[0].recipe
        self._parameterization, self._view, self._chain = recipe.parameterization, recipe.view, recipe.chain
        self._optimizer, self._penalties = recipe.optimizer, recipe.penalties
        self.state = stacked_states(cells)
        """That of all lanes; a step changes it in place."""
        self._weights, self._photometric = self._numbers(cells)
        self._pictures = torch.arange(len(self.state.steps), device=self.state.steps.device)

    def seat(self, cells: Sequence[Cell]) -> None:
        """Take other lanes in place of those that are here, in the same memory; the form of the cells is the same."""
        mapped(lambda new, old: old.copy_(new), stacked_states(cells), self.state)
        for old, new in zip((self._weights, self._photometric), self._numbers(cells), strict=True):
            old.copy_(new)

    def show(self) -> Shown:
        """Return what the network sees at this step."""
        plan = self.state.plan.at(self._pictures, self.state.steps)
        parameters = self.state.parameters.detach().requires_grad_()
        pictures = self._parameterization.decode(parameters)
        seen = self._view.show(pictures, plan.matrices)
        seen = self._chain.disturb(seen, self._photometric, plan.draws)
        return Shown(parameters, seen, self._penalty(pictures), plan.optimizer)

    def move(self, shown: Shown, gradient: Tensor, objective: Tensor, sight: Tensor) -> Move:
        """Return where a gradient leads; nothing changes yet.

        Args:
            shown: What the network saw.
            gradient: That of the parameters.
            objective: (picture,).
            sight: The gradient of what the network saw: zeros are a sign that the objective is silent.
        """
        state = self.state
        parameters, memory = self._optimizer.move(state.parameters, gradient, state.memory, shown.optimizer)
        size = torch.linalg.vector_norm(gradient.flatten(1), dim=1)
        silent = sight.abs().amax(dim=(1, 2, 3)) == 0
        return Move(parameters, memory, objective, silent, size.isfinite() & objective.isfinite())

    def accept(self, move: Move) -> None:
        """Move the lanes; those whose numbers were not finite stay where they are, for one bad step spoils all later.

        Nothing here fails half-way: all memory that it needs is there.
        """
        state, finite = self.state, move.finite
        _replace(state.parameters, move.parameters, where=finite)
        for name, remembered in state.memory.items():
            _replace(remembered, move.memory[name], where=finite)
        state.recent[self._pictures, state.steps % BLOCK_STEPS] = move.objective
        state.silence.add_(1).mul_(move.silent)
        state.left_out.add_(~finite)
        state.steps.add_(1)

    def _penalty(self, pictures: Tensor) -> Tensor | None:
        if not self._penalties:
            return None
        values = torch.stack([penalty(pictures) for penalty in self._penalties], dim=1)
        return (self._weights * values).sum()

    def _numbers(self, cells: Sequence[Cell]) -> tuple[Tensor, Tensor]:
        """Return the weights of the penalties and the numbers of the photometric transforms of each lane."""
        recipes = [recipe for cell in cells for recipe in cell.recipes()]
        like = self.state.parameters
        weights = torch.tensor([recipe.weights for recipe in recipes], dtype=like.dtype)
        photometric = torch.tensor([recipe.chain.numbers for recipe in recipes], dtype=like.dtype)
        return weights.to(like.device), photometric.to(like.device)


def _replace(old: Tensor, new: Tensor, *, where: Tensor) -> None:
    """Copy rows, in place."""
    torch.where(where.reshape(-1, *[1] * (old.dim() - 1)), new, old, out=old)

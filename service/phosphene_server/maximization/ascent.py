"""The pictures of one job, and the step that moves those of many jobs together.

    parameters ─decode─> pictures ─transforms─> seen ─preprocess─> input ─cut graph─> activations ─> objective
        ^                    └──────────────────── penalties ──────────────────────────────────────────┤
        └────────────────────────────────── Adam <── gradient <────────────────────────────────────────┘

A picture is one *lane*: its parameters, moments, random numbers and objective are its own, a row of each tensor. What
stands in the way of a number of lanes being stepped in one batch is the `group_key`; all else may differ, and a lane
comes out the same alone and in company, up to the rounding of batched kernels.

The trap is the device: whatever asks it for a number waits for all that was asked before. So what depends on the step
is computed ahead for a block of steps, and the history stays on the device until somebody reads it.
"""

import io
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.maximization.adam import Moments, ascend
from phosphene_server.maximization.fixed_inputs import joined, other_inputs, stacking_key
from phosphene_server.maximization.objectives import make_objective
from phosphene_server.maximization.parameterizations import make_parameterization
from phosphene_server.maximization.penalties import make_penalty
from phosphene_server.maximization.plan import BLOCK_STEPS, Plan, plan_block
from phosphene_server.maximization.randomness import Purpose, draw_seeds, generator, torch_generator
from phosphene_server.maximization.rectifiers import REDIRECTED_STEPS, RedirectingGraph
from phosphene_server.maximization.stopping import stop_reason
from phosphene_server.maximization.transforms import make_chain, sample
from phosphene_server.models.inputs import feed
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values.maximization import MaximizationWarning, MaximizeActivationRequest, StopReason

SILENT_STEPS = 32
"""After so many steps in a row without any gradient the caller is told."""


class Ascent:
    """The pictures of one job on their way up."""

    def __init__(self, model: LoadedModel, request: MaximizeActivationRequest) -> None:
        """Draw the first pictures of a request that `prepare` has completed."""
        assert request.size is not None
        assert request.seed is not None
        self.model = model
        self.request = request
        self.size = request.size
        self.pictures = request.pictures
        self.step = 0
        self.chain = make_chain(request.transforms)
        self.evaluate = make_objective(request.objective, logits_layer=model.model.logits_layer)
        self.penalties = [(term.weight, make_penalty(term.penalty)) for term in request.penalties if term.weight > 0]
        self.parameterization = make_parameterization(
            request.parameterization,
            size=self.size,
            dtype=torch.promote_types(model.dtype, torch.float32),
            device=model.device,
        )
        self.parameters = torch.stack([self._start(request.seed, picture) for picture in range(self.pictures)])
        self.moments = Moments(torch.zeros_like(self.parameters), torch.zeros_like(self.parameters))
        self.objective = torch.full((self.pictures,), torch.nan, device=model.device)
        self.silence = torch.zeros(self.pictures, dtype=torch.int64, device=model.device)
        self._others: dict[tuple[int, int], dict[str, Tensor]] = {}
        self.group_key: Hashable = (
            id(model.graph),
            self.size,
            replace(request.parameterization, standard_deviation=0.0),
            self.chain.margin,
            self.chain.border,
            self._inputs_key(),
        )
        self._plan = self._plan_block(0)
        self._history = np.empty((0, self.pictures))
        self._unread: list[Tensor] = []
        self._warned: set[str] = set()

    def images(self) -> Tensor:
        """Return the pictures as they are, (pictures, 3, height, width), RGB in [0, 1], on the device."""
        with torch.no_grad():
            return self.parameterization.decode(self.parameters)

    def plain_objective(self) -> Tensor:
        """Return the objective of the pictures as they are, untransformed, (pictures,)."""
        with torch.no_grad():
            pictures = self.images()
            activations = self.model.graph.cut(self.evaluate.layers)(*_inputs([self], pictures))
            return self.evaluate(activations).to(self.parameters.dtype)

    def history(self) -> NDArray[np.float64]:
        """Return the objective at each step, (step, pictures), as the transformed pictures reached it."""
        if self._unread:
            unread = torch.stack(self._unread).double().cpu().numpy()
            self._history = np.concatenate([self._history, unread])
            self._unread = []
        return self._history

    def stop_reason(self) -> StopReason | None:
        """Return why the ascent is over, None while it is not."""
        if not self.request.stop_rules:
            return "steps" if self.step >= self.request.steps else None
        return stop_reason(self.history(), self.request.stop_rules, steps=self.request.steps)

    def take_warnings(self) -> list[MaximizationWarning]:
        """Return what the caller should know and was not told yet.

        Asks the device at most once in `SILENT_STEPS` steps, and at the last one.
        """
        if self.step == 0 or (self.step % SILENT_STEPS and self.step < self.request.steps):
            return []
        found = {"NO_GRADIENT": self._silence_message(), "NOT_FINITE": self._infinity_message()}
        fresh = {reason: text for reason, text in found.items() if text and reason not in self._warned}
        self._warned |= fresh.keys()
        return [MaximizationWarning(self.step, reason, text) for reason, text in fresh.items()]

    def state(self) -> bytes:
        """Return all that `restore` needs to go on as if nothing had happened."""
        content = {
            "parameters": self.parameters,
            "mean": self.moments.mean,
            "square": self.moments.square,
            "silence": self.silence,
            "history": torch.from_numpy(self.history()),
            "warned": sorted(self._warned),
        }
        buffer = io.BytesIO()
        torch.save({name: _compact(value) for name, value in content.items()}, buffer)
        return buffer.getvalue()

    @classmethod
    def restore(cls, model: LoadedModel, request: MaximizeActivationRequest, state: bytes) -> Self:
        """Return the ascent of a request as it was when `state` was taken."""
        ascent = cls(model, request)
        content = torch.load(io.BytesIO(state), map_location=model.device, weights_only=True)
        ascent.parameters = content["parameters"]
        ascent.moments = Moments(content["mean"], content["square"])
        ascent.silence = content["silence"]
        ascent._history = content["history"].cpu().numpy()
        ascent._warned = set(content["warned"])
        ascent.step = len(ascent._history)
        ascent._plan = ascent._plan_block(ascent.step // BLOCK_STEPS)
        if ascent.step:
            ascent.objective = content["history"][-1].to(ascent.objective.dtype)
        return ascent

    # What `step` asks of its ascents

    def others(self, pictures: Tensor) -> dict[str, Tensor]:
        """Return the inputs of the model that are no picture, by name.

        Args:
            pictures: The pictures as the network is shown them, (pictures, 3, height, width).
        """
        height, width = pictures.shape[2:]
        if (height, width) not in self._others:
            fixed = self.request.fixed_inputs
            inputs = other_inputs(self.model, fixed, height=height, width=width, count=self.pictures)
            self._others[height, width] = inputs
        return self._others[height, width]

    def matrices(self) -> Tensor:
        """Return the maps through which the pictures are seen at this step, (pictures, 2, 3)."""
        return self._plan.matrices[self.step % BLOCK_STEPS]

    def coefficients(self) -> Tensor:
        """Return the numbers of Adam for this step, (pictures, 4)."""
        return self._plan.coefficients[self.step % BLOCK_STEPS]

    def disturb(self, seen: Tensor) -> Tensor:
        """Add the noise of this step to the pictures as the network sees them, (pictures, 3, height, width)."""
        if not self.chain.photometric:
            return seen
        place = self.step % BLOCK_STEPS
        seeds = [seeds[place] for seeds in self._plan.noise_seeds]
        return self.chain.disturb(seen, [torch_generator(seed, device=seen.device) for seed in seeds])

    def penalty(self, pictures: Tensor) -> Tensor:
        """Return what is subtracted from the objective of each picture, (pictures,)."""
        return sum((weight * penalty(pictures) for weight, penalty in self.penalties), start=pictures.new_zeros(()))

    def advance(self, parameters: Tensor, moments: Moments, objective: Tensor, silent: Tensor) -> None:
        """Take the outcome of a step; `silent` says which pictures had no gradient at all, (pictures,)."""
        self.parameters = parameters
        self.moments = moments
        self.objective = objective
        self.silence = torch.where(silent, self.silence + 1, 0)
        self._unread.append(objective)
        self.step += 1
        if self.step % BLOCK_STEPS == 0:
            self._plan = self._plan_block(self.step // BLOCK_STEPS)

    # The rest is private

    def _start(self, seed: int, picture: int) -> Tensor:
        (start_seed,) = draw_seeds(generator(seed, picture=picture, purpose=Purpose.START), 1)
        return self.parameterization.start(torch_generator(start_seed, device="cpu"))

    def _inputs_key(self) -> Hashable:
        height, width = (side + 2 * self.chain.margin for side in (self.size.height, self.size.width))
        return stacking_key(self.model, self.request.fixed_inputs, height=height, width=width)

    def _plan_block(self, block: int) -> Plan:
        kept = self.parameters
        return plan_block(self.request, self.chain, block, dtype=kept.dtype, device=kept.device)

    def _silence_message(self) -> str:
        limit = min(SILENT_STEPS, self.request.steps)
        pictures = [index for index, steps in enumerate(self.silence.tolist()) if steps >= limit]
        if not pictures:
            return ""
        return (
            f"for {limit} steps the objective has had no gradient at pictures {pictures}: what it asks for is silent "
            "there, and the pictures do not move; another seed, or the layer before its rectifier, may help"
        )

    def _infinity_message(self) -> str:
        pictures = np.flatnonzero(~np.isfinite(self.history()).all(axis=0)).tolist()
        return f"the objective was not finite at pictures {pictures}; such steps were left out" if pictures else ""


def step(ascents: Sequence[Ascent]) -> None:
    """Move all pictures of ascents of one group one step up, in one batch.

    Args:
        ascents: One or more, with equal `group_key`.
    """
    sizes = [ascent.pictures for ascent in ascents]
    parameters = torch.cat([ascent.parameters for ascent in ascents]).requires_grad_()
    pictures = ascents[0].parameterization.decode(parameters)
    seen = _transformed(ascents, torch.split(pictures, sizes))
    objectives = _objectives(ascents, seen, sizes)
    penalties = [
        ascent.penalty(own).sum()
        for ascent, own in zip(ascents, torch.split(pictures, sizes), strict=True)
        if ascent.penalties
    ]
    total = torch.cat(objectives).sum() - sum(penalties)
    gradient, sight = torch.autograd.grad(total, (parameters, seen))
    _advance(ascents, parameters.detach(), gradient, [own.detach() for own in objectives], _silent(sight), sizes)


def _transformed(ascents: Sequence[Ascent], pictures: Sequence[Tensor]) -> Tensor:
    """Return what the network sees of the pictures of each ascent, as one batch."""
    seen = list(pictures)
    moving = [index for index, ascent in enumerate(ascents) if ascent.chain.moves]
    if moving:
        moved = sample(
            torch.cat([pictures[index] for index in moving]),
            torch.cat([ascents[index].matrices() for index in moving]),
            margin=ascents[0].chain.margin,
            border=ascents[0].chain.border,
        )
        parts = torch.split(moved, [ascents[index].pictures for index in moving])
        for index, own in zip(moving, parts, strict=True):
            seen[index] = own
    return torch.cat([ascent.disturb(own) for ascent, own in zip(ascents, seen, strict=True)])


def _objectives(ascents: Sequence[Ascent], seen: Tensor, sizes: list[int]) -> list[Tensor]:
    """Return the objective of each ascent's pictures, computing each layer once for all."""
    model = ascents[0].model
    graph = model.graph.cut(frozenset().union(*(ascent.evaluate.layers for ascent in ascents)))
    redirected = [ascent.step < REDIRECTED_STEPS for ascent in ascents for _ in range(ascent.pictures)]
    inputs = _inputs(ascents, seen)
    if any(redirected):
        activations = RedirectingGraph(graph, torch.tensor(redirected, device=seen.device))(*inputs)
    else:
        activations = graph(*inputs)
    # One split for each layer: its gradient is one concatenation; slices would each fill a whole layer with zeros.
    parts = {layer: torch.split(activation, sizes) for layer, activation in activations.items()}
    return [
        ascent.evaluate({layer: parts[layer][index] for layer in ascent.evaluate.layers}).to(seen.dtype)
        for index, ascent in enumerate(ascents)
    ]


def _silent(sight: Tensor) -> Tensor:
    """Return which pictures have no gradient at what the network sees, bool, (batch,)."""
    return ~sight.flatten(1).any(dim=1)


def _advance(
    ascents: Sequence[Ascent],
    parameters: Tensor,
    gradient: Tensor,
    objectives: Sequence[Tensor],
    silent: Tensor,
    sizes: list[int],
) -> None:
    """Let Adam move all parameters and give each ascent its own."""
    moments = Moments(
        torch.cat([ascent.moments.mean for ascent in ascents]), torch.cat([ascent.moments.square for ascent in ascents])
    )
    rows = torch.cat([ascent.coefficients() for ascent in ascents])
    moved, kept = ascend(parameters, gradient, moments, rows)
    outcomes = (moved, kept.mean, kept.square, silent)
    parts = zip(*(torch.split(outcome, sizes) for outcome in outcomes), strict=True)
    for ascent, objective, (own, mean, square, own_silent) in zip(ascents, objectives, parts, strict=True):
        ascent.advance(own, Moments(mean, square), objective, own_silent)


def _inputs(ascents: Sequence[Ascent], pictures: Tensor) -> tuple[Tensor, ...]:
    """Return the inputs of the model for the pictures of all ascents, and what goes with them.

    The pictures are in the model's type and in the layout in which convolutions are fastest.
    """
    model = ascents[0].model
    reading, shared = model.reading, model.graph.batching.shared
    alone = [entry.name for position, entry in reading.others.items() if position in shared]
    others = joined([ascent.others(pictures) for ascent in ascents], shared=alone) if reading.others else {}
    inputs = list(feed(reading, pictures, others))
    assert reading.picture is not None, "preparation refuses models that read no pictures"
    inputs[reading.picture] = inputs[reading.picture].to(model.dtype, memory_format=torch.channels_last)
    return tuple(inputs)


def _compact(value: object) -> object:
    """Copy a tensor that is a part of a larger one, which would be written whole."""
    return value.clone() if isinstance(value, Tensor) else value

"""The pictures of one job on their way up.

A picture is one *lane*: its parameters, what its optimizer remembers, its random numbers and its objective are its own,
a row of each tensor. Lanes of equal `group_key` may be stepped in one batch (see batch.py); all else may differ, and a
lane comes out the same alone and in company, up to the rounding of batched kernels.

The trap is the device: whatever asks it for a number waits for all that was asked before. So what depends on the step
is computed ahead for a block of steps, and the history stays on the device until somebody reads it.
"""

import io
from collections.abc import Hashable, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.maximization.batch import Batch, network_inputs
from phosphene_server.maximization.fixed_inputs import other_inputs, stacking_key
from phosphene_server.maximization.layout import Member
from phosphene_server.maximization.plan import BLOCK_STEPS, Plan, plan_block
from phosphene_server.maximization.randomness import Purpose, generator, torch_generator
from phosphene_server.maximization.readback import READ_BEHIND, Readback, Trace
from phosphene_server.maximization.recipe import make_recipe
from phosphene_server.maximization.state import LaneState, first_state, mapped
from phosphene_server.maximization.stopping import stop_reason
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import MaximizationWarning, MaximizeActivationRequest, StopReason

SILENT_STEPS = 32
"""After so many steps in a row without any gradient the caller is told."""


class Ascent:
    """The pictures of one job."""

    def __init__(self, model: LoadedModel, request: MaximizeActivationRequest) -> None:
        """Draw the first pictures of a request that `prepare` has completed."""
        assert request.size is not None
        self.model = model
        self.request = request
        self.size = request.size
        self.pictures = request.pictures
        self.step = 0
        self.recipe = make_recipe(model, request)
        parameters = self._first_parameters()
        self._dtype = parameters.dtype
        self.lanes = first_state(parameters, self.recipe.optimizer.start(parameters), self._planned(0))
        self.batch: Batch | None = None
        """The batch that its state is a part of."""
        self._others = self._other_inputs(self.recipe.view.size)
        self.group_key: Hashable = (id(model.graph), request.precision, self.recipe.view.size, self._inputs_key())
        self._history = np.empty((0, self.pictures))
        """The objective of blocks of steps that are over and were read."""
        self._unread: list[Tensor] = []
        """That of blocks that are over, each (picture, step)."""
        self._trace = self._traced(self._history)
        self._asked: tuple[int, Readback] | None = None
        self._warned: set[str] = set()

    @property
    def objective(self) -> Tensor:
        """The objective of each picture at the last step, (pictures,); NaN before the first."""
        return self.lanes.recent[:, (self.step - 1) % BLOCK_STEPS].clone()

    def images(self) -> Tensor:
        """Return the pictures as they are, (pictures, 3, height, width), RGB in [0, 1], on the device."""
        with torch.no_grad():
            return self.recipe.parameterization.decode(self.lanes.parameters)

    def plain_objective(self) -> Tensor:
        """Return the objective of the pictures as they are, untransformed, (pictures,)."""
        objective, view = self.recipe.objective, self.recipe.chain.plain_view(self.size)
        graph = self.model.lowered(objective.layers, self.request.precision)
        with torch.no_grad():
            identity = torch.eye(2, 3, dtype=self._dtype, device=self.model.device).expand(self.pictures, -1, -1)
            seen = view.show(self.images(), identity)
            others = self._other_inputs(view.size)
            activations = graph(*network_inputs(self.model.reading, self.model.dtype, seen, others))
            return objective(activations).to(self._dtype)

    def history(self) -> NDArray[np.float64]:
        """Return the objective at each step, (step, pictures), as the transformed pictures reached it."""
        if self._unread:
            unread = torch.cat(self._unread, dim=1).T.double().cpu().numpy()
            self._history = np.concatenate([self._history, unread])
            self._unread = []
        recent = self.lanes.recent[:, : self.step % BLOCK_STEPS].T.double().cpu().numpy()
        return np.concatenate([self._history, recent])

    def stop_reason(self) -> StopReason | None:
        """Return why the ascent is over, None while it is not.

        Rules look at those steps that a GPU has done by then (see readback.py), after the last one at all of them.
        """
        last = self.step >= self.request.steps
        if self._trace is None:
            return "steps" if last else None
        return stop_reason(self._trace.known(whole=last), self.request.stop_rules, steps=self.request.steps)

    def take_warnings(self) -> list[MaximizationWarning]:
        """Return what the caller should know and was not told yet.

        Looked for once in `SILENT_STEPS` steps and at the last one; waits for the device at the last one alone.
        """
        last = self.step >= self.request.steps
        if self.step and (last or self.step % SILENT_STEPS == 0):
            self._asked = self.step, Readback(torch.stack([self.lanes.silence, self.lanes.left_out]))
        if self._asked is None or not (last or self._asked[1].arrived):
            return []
        (step, readback), self._asked = self._asked, None
        silence, left_out = readback.numbers().tolist()
        found = {"NO_GRADIENT": self._silence_message(silence), "NOT_FINITE": _infinity_message(left_out)}
        fresh = {reason: text for reason, text in found.items() if text and reason not in self._warned}
        self._warned |= fresh.keys()
        return [MaximizationWarning(step, reason, text) for reason, text in fresh.items()]

    def state(self) -> bytes:
        """Return all that `restore` needs to go on as if nothing had happened."""
        content = {
            "parameters": self.lanes.parameters.clone(),  # a part of a larger tensor would be written whole
            "memory": {name: remembered.clone() for name, remembered in self.lanes.memory.items()},
            "silence": self.lanes.silence.clone(),
            "left_out": self.lanes.left_out.clone(),
            "history": torch.from_numpy(self.history()),
            "warned": sorted(self._warned),
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        return buffer.getvalue()

    @classmethod
    def restore(cls, model: LoadedModel, request: MaximizeActivationRequest, state: bytes) -> Self:
        """Return the ascent of a request as it was when `state` was taken."""
        ascent = cls(model, request)
        content = torch.load(io.BytesIO(state), map_location=model.device, weights_only=True)
        history = content["history"]
        ascent.step = len(history)
        block = ascent.step // BLOCK_STEPS
        ascent._history = history[: block * BLOCK_STEPS].cpu().numpy()
        ascent._trace = ascent._traced(history.cpu().numpy())
        ascent._warned = set(content["warned"])
        lanes = first_state(content["parameters"], content["memory"], ascent._planned(block))
        lanes.steps.fill_(ascent.step)
        lanes.silence.copy_(content["silence"])
        lanes.left_out.copy_(content["left_out"])
        last = history[-BLOCK_STEPS:].T.to(lanes.recent.dtype)
        lanes.recent[:, torch.arange(ascent.step - last.shape[1], ascent.step) % BLOCK_STEPS] = last
        ascent.lanes = lanes
        return ascent

    # What steps ask of it

    def member(self) -> Member:
        """Return what a batch stacks."""
        return Member(self.recipe, self.lanes, self._others)

    def move_to(self, batch: Batch, lanes: LaneState) -> None:
        """Note that its state is a part of a batch from now on."""
        self.batch, self.lanes = batch, lanes

    def move_out(self) -> None:
        """Take its state out of the batch, for others are to take its place."""
        self.batch, self.lanes = None, mapped(torch.clone, self.lanes)

    def advanced(self) -> None:
        """Note that its batch has moved it one step."""
        self.step += 1
        if self._trace is not None:
            self._trace.add(self.objective)
        if self.step % BLOCK_STEPS == 0:
            self._unread.append(self.lanes.recent.clone())
            _copy(self._planned(self.step // BLOCK_STEPS), into=self.lanes.plan)

    # The rest is private

    def _first_parameters(self) -> Tensor:
        assert self.request.seed is not None
        sources = [
            generator(self.request.seed, picture=picture, purpose=Purpose.START) for picture in range(self.pictures)
        ]
        return torch.stack([self.recipe.parameterization.start(torch_generator(source)) for source in sources])

    def _planned(self, block: int) -> Plan:
        """Return the plan of a block of steps, on the device."""
        plan = plan_block(self.request, self.recipe, block, dtype=self._dtype)
        if self.model.device.type != "cuda":
            return plan
        # Only from pinned memory does the copy not wait for the steps that the device was asked for before.
        return mapped(lambda tensor: tensor.pin_memory().to(self.model.device, non_blocking=True), plan)

    def _traced(self, history: NDArray[np.float64]) -> Trace | None:
        """Return what stop rules look at, (step, picture) of it known; None where there are none."""
        if not self.request.stop_rules:
            return None
        return Trace(history, steps=self.request.steps, behind=READ_BEHIND[self.model.device.type])

    def _other_inputs(self, size: ImageSize) -> dict[str, Tensor]:
        fixed = self.request.fixed_inputs
        return other_inputs(self.model, fixed, height=size.height, width=size.width, count=self.pictures)

    def _inputs_key(self) -> Hashable:
        size = self.recipe.view.size
        return stacking_key(self.model, self.request.fixed_inputs, height=size.height, width=size.width)

    def _silence_message(self, silence: Sequence[int]) -> str:
        limit = min(SILENT_STEPS, self.request.steps)
        pictures = [index for index, steps in enumerate(silence) if steps >= limit]
        if not pictures:
            return ""
        return (
            f"for {limit} steps the objective has had no gradient at pictures {pictures}: what it asks for is silent "
            "there, and the pictures do not move; another seed, or the layer before its rectifier, may help"
        )


def _copy(plan: Plan, *, into: Plan) -> None:
    mapped(lambda new, old: old.copy_(new, non_blocking=True), plan, into)


def _infinity_message(left_out: Sequence[int]) -> str:
    pictures = [index for index, steps in enumerate(left_out) if steps]
    return f"the objective was not finite at pictures {pictures}; such steps were left out" if pictures else ""

"""Steps of ascents: in a batch of their own, or in one that was captured for their number and kinds."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from weakref import WeakKeyDictionary, WeakSet

import torch

from phosphene_server.maximization import layout
from phosphene_server.maximization.ascent import Ascent
from phosphene_server.maximization.batch import REDIRECTED_STEPS, Batch
from phosphene_server.maximization.layout import Cell
from phosphene_server.models.loaded import LoadedModel

logger = logging.getLogger(__name__)

Step = Callable[[Sequence[Ascent]], None]
"""Moves all pictures of one or more ascents with equal `group_key` one step up, in one batch."""

Capture = Callable[[Callable[[], None]], Callable[[], None]]
"""Takes what works on tensors that stay where they are, and returns what does the same again; does nothing yet."""

WARM_STEPS = 2
"""Steps that a batch is moved before it is captured: libraries choose their kernels and take their memory in them."""

MAXIMUM_CAPTURED = 32
"""Batches that are kept for a model; the one that was used longest ago goes first."""


def step(ascents: Sequence[Ascent]) -> None:
    """Move ascents one step up. Those that were stepped together last time are still stacked. Is a `Step`."""
    batch = _own_batch(ascents)
    if batch is None:
        cells = _cells(ascents, layout.exactly)
        batch = Batch(ascents[0].model, ascents[0].request.precision, cells)
        _move_in(ascents, batch, cells)
    batch.step(redirected=_redirected(ascents))
    for ascent in ascents:
        ascent.advanced()


class CapturedSteps:
    """Moves ascents in batches whose steps are captured. Calling it is a `Step`.

    A captured step works on the tensors that it was captured with. So batches of a few sizes stay, with room for more
    lanes than there are jobs, and jobs take places in them and leave them again.
    """

    def __init__(self, capture: Capture) -> None:
        """Take what captures."""
        self._capture = capture
        self._kept: WeakKeyDictionary[LoadedModel, OrderedDict[Hashable, _Kept]] = WeakKeyDictionary()

    def __call__(self, ascents: Sequence[Ascent]) -> None:
        """Move ascents one step up.

        Raises:
            torch.OutOfMemoryError: they do not fit into memory, and all that was kept has been given up.
        """
        try:
            self._seated(ascents).step(redirected=_redirected(ascents))
        except torch.OutOfMemoryError:
            self._give_up()
            raise
        for ascent in ascents:
            ascent.advanced()

    def _give_up(self) -> None:
        """Forget all batches that are kept: spare lanes and captured steps are for better times."""
        for own in self._kept.values():
            for kept in own.values():
                kept.vacate()
        self._kept.clear()

    def _seated(self, ascents: Sequence[Ascent]) -> "_Kept":
        """Return the batch in which the ascents, and no others, have their places."""
        own = self._kept.setdefault(ascents[0].model, OrderedDict())
        batch = _own_batch(ascents)
        for key, kept in own.items():
            if kept.batch is batch:
                own.move_to_end(key)
                return kept
        return self._newly_seated(ascents, own)

    def _newly_seated(self, ascents: Sequence[Ascent], own: "OrderedDict[Hashable, _Kept]") -> "_Kept":
        cells = _cells(ascents, layout.bucket)
        key = ascents[0].group_key, layout.form(cells)
        kept = own.pop(key, None)
        if kept is None:
            batch = Batch(ascents[0].model, ascents[0].request.precision, cells)
            kept = _Kept(batch, self._capture)
            kept.take(ascents, cells)
        else:
            kept.seat(ascents, cells)
        own[key] = kept
        if len(own) > MAXIMUM_CAPTURED:
            own.popitem(last=False)
        return kept


class _Kept:
    """A batch that stays, and its captured steps."""

    def __init__(self, batch: Batch, capture: Capture) -> None:
        self.batch = batch
        self._capture: Capture | None = capture
        self._captured: dict[bool, Callable[[], None]] = {}
        self._warm = 0
        self._occupants: WeakSet[Ascent] = WeakSet()

    def take(self, ascents: Sequence[Ascent], cells: Sequence[Cell]) -> None:
        """Note who has the places of the batch."""
        _move_in(ascents, self.batch, cells)
        self._occupants = WeakSet(ascents)

    def seat(self, ascents: Sequence[Ascent], cells: Sequence[Cell]) -> None:
        """Give the places of the batch to some ascents; whoever has one now and is not among them moves out."""
        self.vacate(but=ascents)
        self.batch.seat(cells)
        self.take(ascents, cells)

    def vacate(self, *, but: Sequence[Ascent] = ()) -> None:
        """Have all who have places here move out, but for some."""
        for other in set(self._occupants) - set(but):
            if other.batch is self.batch:
                other.move_out()

    def step(self, *, redirected: bool) -> None:
        """Move all lanes one step up."""
        move = partial(self.batch.step, redirected=redirected)
        if redirected not in self._captured and self._capture is not None and self._warm >= WARM_STEPS:
            self._try_to_capture(move, redirected=redirected)
        self._captured.get(redirected, move)()
        self._warm += 1

    def _try_to_capture(self, move: Callable[[], None], *, redirected: bool) -> None:
        """Capture a step if the model allows it; otherwise it is asked for operation by operation for good."""
        assert self._capture is not None
        try:
            self._captured[redirected] = self._capture(move)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            logger.warning("A step cannot be captured; it is asked for operation by operation.", exc_info=True)
            self._capture = None


def _own_batch(ascents: Sequence[Ascent]) -> Batch | None:
    """Return the batch that holds the ascents and no others."""
    batch = ascents[0].batch
    return batch if batch is not None and batch.holds([ascent.lanes for ascent in ascents]) else None


def _cells(ascents: Sequence[Ascent], room: Callable[[int], int]) -> list[Cell]:
    return layout.arranged([ascent.member() for ascent in ascents], room)


def _move_in(ascents: Sequence[Ascent], batch: Batch, cells: Sequence[Cell]) -> None:
    """Tell ascents where in a batch their states are now."""
    recipes = [member.recipe for cell in cells for member in cell.members]
    states = dict(zip(recipes, batch.states, strict=True))
    for ascent in ascents:
        ascent.move_to(batch, states[ascent.recipe])


def _redirected(ascents: Sequence[Ascent]) -> bool:
    return any(ascent.step < REDIRECTED_STEPS for ascent in ascents)

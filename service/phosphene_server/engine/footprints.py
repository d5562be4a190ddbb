"""How much memory jobs take, and what fits: plain decisions on measured numbers.

A *footprint* is what one lane takes: `held` bytes as long as it is there, `step` bytes more while it is stepped. It is
the same for all jobs of a *kind*, and is measured on the first one (`trials.py`).

    budget >= models + the held bytes of all running lanes + the step bytes of the largest batch

A job is started only if this still holds when the largest batch is the largest single job; batches are then made as
large as what is left allows. So a device runs full, but not over. A job of which nothing is known yet is taken for so
large that no other lane is stepped with it.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol

from phosphene_server.errors import InvalidArgument
from phosphene_server.values.maximization import PadTransform, ResizeTransform
from phosphene_server.values.work import MaximizationJob

KNOWN_KINDS = 1024
"""Kinds of jobs whose footprint is remembered; the one that was measured first is forgotten first."""

HELD_BYTES_PER_PIXEL = 512
"""What a lane that was not measured is taken to hold: seven times what parameters, moments and plan of a Fourier
picture do."""


@dataclass(frozen=True)
class Footprint:
    """The memory of one lane, in bytes."""

    held: int = 0
    step: int = 0


class Resident(Protocol):
    """A running job, as far as its memory is concerned."""

    @property
    def lanes(self) -> int:
        """The number of its pictures."""

    @property
    def footprint(self) -> Footprint:
        """What each of them takes."""


def kind_of(job: MaximizationJob) -> Hashable:
    """Return what the footprint of a lane depends on: the file, and the request without its numbers and channels."""
    request = job.request
    return (
        job.source.sha256,
        job.source.reference.name,
        request.size,
        request.precision,
        request.parameterization.kind,
        request.optimizer.kind,
        # Only these change the size at which the network sees the picture.
        tuple(
            item if isinstance(item, PadTransform | ResizeTransform) else item.kind for item in request.transforms.items
        ),
        tuple(term.penalty.kind for term in request.penalties),
        frozenset(_names(request.objective)),
        tuple((item.name, item.value.shape) for item in request.fixed_inputs),
    )


def _names(value: Any) -> Iterator[str]:  # Any: a walk through nested values
    """Yield the kinds and layers that an objective names, wherever they stand in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _names(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _names(getattr(value, field.name))


class MemoryBook:
    """Keeps what is known of kinds of jobs, and decides what fits into a budget."""

    def __init__(self, budget_bytes: int, models_bytes: Callable[[], int]) -> None:
        """Take what models and jobs may take together, and what tells how much of it the models do."""
        self._budget_bytes = budget_bytes
        self._models_bytes = models_bytes
        self._known: dict[Hashable, Footprint] = {}
        self._held = 0
        self._largest: dict[Resident, int] = {}

    @property
    def room_bytes(self) -> int:
        """What is free for a step now."""
        return self._budget_bytes - self._models_bytes() - self._held

    def known(self, kind: Hashable) -> Footprint | None:
        """Return the footprint of a kind of jobs; None while it was not measured."""
        return self._known.get(kind)

    def learn(self, kind: Hashable, footprint: Footprint) -> None:
        """Note what was measured."""
        self._known[kind] = footprint
        if len(self._known) > KNOWN_KINDS:
            del self._known[next(iter(self._known))]

    def guess(self, job: MaximizationJob) -> Footprint:
        """Return what a lane of a job is taken to need until it was measured: too much."""
        size = job.request.size or job.source.preprocessing.size
        return Footprint(held=HELD_BYTES_PER_PIXEL * size.height * size.width, step=self._budget_bytes // 2 + 1)

    def lacking_bytes(self, lanes: int, footprint: Footprint) -> int:
        """Return how much more must become free for a job of so many lanes to run beside those that do; 0: it fits."""
        step = max([lanes * footprint.step, *self._largest.values()])
        return max(0, lanes * footprint.held + step - self.room_bytes)

    def add(self, job: Resident) -> None:
        """Note that a job runs; its footprint does not change until `remove`."""
        self._held += job.lanes * job.footprint.held
        self._largest[job] = job.lanes * job.footprint.step

    def remove(self, job: Resident) -> None:
        """Note that a job has ended."""
        self._held -= job.lanes * job.footprint.held
        del self._largest[job]

    def check(self, job: MaximizationJob, footprint: Footprint, *, alone: bool) -> None:
        """Refuse a job that will never fit.

        Args:
            job: The job.
            footprint: What a lane of it takes.
            alone: Whether nothing runs now, so that no more memory than this can ever become free.

        Raises:
            InvalidArgument: what it takes, and what there is.
        """
        each = footprint.held + footprint.step
        there_is = self._budget_bytes - (self._models_bytes() if alone else 0)
        pictures, size = job.request.pictures, job.request.size
        if pictures * each <= there_is:
            return
        dimensions = f"{size.height}x{size.width}" if size else "the model's own size"
        takes = f"{pictures} of {dimensions}, which take {_gigabytes(pictures * each)}"
        limit = f"{_gigabytes(there_is)} (setting memory_bytes)"
        if each <= there_is:
            raise InvalidArgument("pictures", takes, f"at most {there_is // each} of this size in {limit}")
        raise InvalidArgument("size", takes, f"a size of which one picture fits into {limit}")


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"

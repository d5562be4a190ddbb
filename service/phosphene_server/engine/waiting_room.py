"""Jobs that wait, and which of them are started now."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from phosphene_server.engine.footprints import Footprint, MemoryBook
from phosphene_server.engine.job import WaitingJob
from phosphene_server.engine.loads import ModelLoads, Models
from phosphene_server.engine.waiting_line import start_order
from phosphene_server.errors import Overloaded
from phosphene_server.values.work import MaximizationJob

logger = logging.getLogger(__name__)


class WaitingRoom:
    """Chooses who is started next: in the order of `waiting_line.py`, as soon as model, lanes and memory are there.

    One that lacks its model lets others pass. One that lacks lanes or memory does not: however large, its time comes.
    """

    def __init__(
        self,
        models: Models,
        loads: ModelLoads,
        book: MemoryBook,
        measure: Callable[[MaximizationJob], Footprint],
        *,
        maximum_lanes: int,
        lanes_of_owner: int,
    ) -> None:
        """Take what is needed to decide.

        Args:
            models: The models that are there.
            loads: Loads the others.
            book: Knows what fits into memory.
            measure: Measures what a lane of a job of several pictures takes.
            maximum_lanes: The most lanes that run at a time, unless a single job has more.
            lanes_of_owner: The most lanes of one owner, unless a single job has more.
        """
        self._models = models
        self._loads = loads
        self._book = book
        self._measure = measure
        self._maximum_lanes = maximum_lanes
        self._lanes_of_owner = lanes_of_owner
        self._jobs: dict[str, WaitingJob] = {}
        self._held: Counter[str] = Counter()
        """The lanes that run, by owner."""
        self.changed = False
        """Whether something happened after which another job may be started."""

    def add(self, waiting: WaitingJob) -> None:
        """Let a job wait."""
        self._jobs[waiting.job.job_id] = waiting
        self.changed = True

    def pop(self, job_id: str) -> WaitingJob | None:
        """Let a job go that waits; it is not held back by anything any more."""
        waiting = self._jobs.pop(job_id, None)
        self.changed = self.changed or waiting is not None
        return waiting

    def started(self, owner: str, lanes: int) -> None:
        """Note that lanes run."""
        self._held[owner] += lanes

    def ended(self, owner: str, lanes: int) -> None:
        """Note that lanes do not run any more."""
        self._held[owner] -= lanes
        if not self._held[owner]:
            del self._held[owner]
        self.changed = True

    def start(self, start: Callable[[WaitingJob, Footprint | None], None], *, patience: Callable[[], bool]) -> None:
        """Call `start` for each job that can be started now, and tell the others how many come before them.

        `start` gets the footprint of a lane, None while it is not known, and says with `started` whether it started the
        job; `patience` tells whether there is time for one more. What a job raises on its way goes to `start` as well:
        see `WaitingJob.refusal`.
        """
        if not self.changed:
            return
        self.changed = False
        ready, later = start_order(self._jobs.values(), held=self._held, lanes_of_owner=self._lanes_of_owner)
        for waiting in ready:
            if not self._may_be_tried(waiting):
                continue
            if waiting.refusal is None and self._lacks_lanes(waiting):
                break
            if not patience():
                self.changed = True
                return
            if not self._admits(waiting):
                break
            del self._jobs[waiting.job.job_id]
            start(waiting, self._book.known(waiting.kind))
        self._tell_positions([waiting for waiting in (*ready, *later) if waiting.job.job_id in self._jobs])

    def _tell_positions(self, still: Sequence[WaitingJob]) -> None:
        """Tell those who wait their place; of an owner only the first, and none once one of its lanes runs."""
        told = set(self._held)
        for position, waiting in enumerate(still, start=1):
            if waiting.owner not in told:
                told.add(waiting.owner)
                waiting.tell_position(position)

    def _may_be_tried(self, waiting: WaitingJob) -> bool:
        """Tell whether the model of a job is there, and have it loaded if not.

        Nothing can be measured while another one is loaded; a job that would have to be measured first waits, too.
        """
        if waiting.refusal is not None:
            return True
        if waiting.loading:
            return False
        if not self._models.has(waiting.job.source):
            waiting.loading = True
            self._loads.when_loaded(waiting.job.source, partial(self._loaded, waiting))
            return False
        return not (self._must_be_measured(waiting) and self._loads.busy)

    def _loaded(self, waiting: WaitingJob, error: Exception | None) -> None:
        waiting.loading = False
        waiting.refusal = error
        self.changed = True

    def _must_be_measured(self, waiting: WaitingJob) -> bool:
        return waiting.lanes > 1 and self._book.known(waiting.kind) is None

    def _lacks_lanes(self, waiting: WaitingJob) -> bool:
        lanes = self._held.total()
        return lanes > 0 and lanes + waiting.lanes > self._maximum_lanes

    def _admits(self, waiting: WaitingJob) -> bool:
        """Tell whether a job need not wait any more: it can be started, or must be told why not."""
        if waiting.refusal is not None:
            return True
        try:
            if self._must_be_measured(waiting):
                self._learn(waiting)
            return self._fits(waiting)
        except Overloaded as error:
            if self._held:
                return False  # not even a step of one picture fits beside what runs: when something ends, it may
            waiting.refusal = error
        except Exception as error:
            waiting.refusal = error
        return True

    def _learn(self, waiting: WaitingJob) -> None:
        footprint = self._measure(waiting.job)
        self._book.learn(waiting.kind, footprint)
        logger.info("A lane like those of %s takes %s.", waiting.job.job_id, footprint)

    def _fits(self, waiting: WaitingJob) -> bool:
        """Tell whether a job fits into memory beside those that run; models that nobody uses are dropped for it.

        Raises:
            InvalidArgument: it never will.
        """
        known = self._book.known(waiting.kind)
        footprint = known or self._book.guess(waiting.job)
        lacking = self._book.lacking_bytes(waiting.lanes, footprint)
        if lacking > 0:
            self._models.drop_idle(lacking, keep=waiting.job.source)
            lacking = self._book.lacking_bytes(waiting.lanes, footprint)
        if known is not None and lacking > 0:
            self._book.check(waiting.job, known, alone=not self._held)
        return lacking == 0 or not self._held

"""Short tasks, done between two steps, and errands, which run beside the steps (`errands.py`)."""

from collections import deque
from collections.abc import Callable
from functools import partial

from phosphene_server.engine.errands import ERRANDS, Errands, is_small
from phosphene_server.engine.failures import told
from phosphene_server.engine.loads import ModelLoads, Models
from phosphene_server.errors import PhospheneError
from phosphene_server.values.work import BetweenSteps, ModelSource, Task, TaskReply, UnloadModel, at_once

Reply = Callable[[TaskReply | PhospheneError], None]
"""Hears the reply to a task, or what the task raised."""


class TaskLine:
    """Tasks in the order in which they came; one whose model is still to be loaded steps aside until it is there."""

    def __init__(
        self,
        models: Models,
        loads: ModelLoads,
        run_task: Callable[[Task, BetweenSteps], TaskReply],
        errands: Errands,
    ) -> None:
        """Take the models, what loads them, what does a task whose model is there, and what runs errands."""
        self._models = models
        self._loads = loads
        self._errands = errands
        self._run_task = run_task
        self._line: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        """Return how much can be done now."""
        return len(self._line)

    def line_up(self, work: Callable[[], None]) -> None:
        """Put something in line that is done between two steps."""
        self._line.append(work)

    def add(self, task: Task, reply: Reply) -> None:
        """Put a task in line, as soon as its model is there, which is held until the task is done."""
        if isinstance(task, UnloadModel):
            self._loads.when_settled(task.reference, partial(self.line_up, partial(self._answer, task, reply, at_once)))
        elif task.source is None:
            self._begin(task, partial(self._answer, task, reply))
        else:
            self._loads.when_loaded(task.source, partial(self._begin_with_model, task, task.source, reply))

    def begin_beside(self, task: Task, reply: Reply) -> bool:
        """Begin an errand that needs no model or one that is there; return whether it is one. On any thread.

        It need not wait for the step that is made just now: only its parts wait, each for one step at most.
        """
        if not isinstance(task, ERRANDS):
            return False
        if task.source is None:
            self._begin(task, partial(self._answer, task, reply))
            return True
        if not self._models.hold_if_there(task.source):
            return False
        self._begin_held(task, task.source, reply)
        return True

    def work(self) -> None:
        """Do the tasks that wait now; those that come meanwhile wait for one step, so that jobs cannot starve."""
        for _ in range(len(self._line)):
            self._line.popleft()()

    def _begin_with_model(self, task: Task, source: ModelSource, reply: Reply, error: Exception | None) -> None:
        if error is not None:
            reply(told(error, doing="loading a model"))
            return
        self._models.hold(source)
        self._begin_held(task, source, reply)

    def _begin_held(self, task: Task, source: ModelSource, reply: Reply) -> None:
        """Begin a task whose model is held until it is done."""

        def answer(between_steps: BetweenSteps) -> None:
            try:
                self._answer(task, reply, between_steps)
            finally:
                self._models.release(source)

        self._begin(task, answer)

    def _begin(self, task: Task, answer: Callable[[BetweenSteps], None]) -> None:
        if isinstance(task, ERRANDS):
            self._errands.begin(answer, small=is_small(task))
        else:
            self.line_up(partial(answer, at_once))

    def _answer(self, task: Task, reply: Reply, between_steps: BetweenSteps) -> None:
        try:
            answer: TaskReply | PhospheneError = self._run_task(task, between_steps)
        except Exception as error:
            answer = told(error, doing=f"doing the task {type(task).__name__}")
        reply(answer)

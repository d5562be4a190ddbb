"""What the front says to a worker process, and what the process says back: pickled, one after the other.

The first message to the process is its `Settings`; its first one back is `Ready` or `StartFailed`.
"""

from dataclasses import dataclass

from phosphene_server.errors import PhospheneError
from phosphene_server.values.work import JobEvent, MaximizationJob, Task, TaskReply

# To the process


@dataclass(frozen=True)
class RunTask:
    """Do a task; answered with `TaskAnswered` of the same number."""

    number: int
    task: Task


@dataclass(frozen=True)
class SubmitJob:
    """Take a job."""

    job: MaximizationJob


@dataclass(frozen=True)
class CancelJob:
    """End a job before its next step."""

    job_id: str


Command = RunTask | SubmitJob | CancelJob


# From the process


@dataclass(frozen=True)
class Ready:
    """The process takes commands now."""

    device: str


@dataclass(frozen=True)
class StartFailed:
    """The process cannot work and ends."""

    error: PhospheneError


@dataclass(frozen=True)
class TaskAnswered:
    """The reply to a task, or what it raised."""

    number: int
    answer: TaskReply | PhospheneError


Report = Ready | StartFailed | TaskAnswered | JobEvent

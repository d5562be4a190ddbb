"""What crosses the line between the front process and a worker: tasks and jobs one way, replies and events the other.

What crosses it is a frozen dataclass of plain values, so that it pickles, and so that a worker may one day live on
another machine. A *task* is short and answered once, between two steps of the running jobs. A *job* is a maximization:
it is submitted, tells its events, and ends with `JobFinished` or `JobFailed`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from phosphene_server.errors import PhospheneError
from phosphene_server.values.filter import ExtractFiltersRequest, ExtractFiltersResponse
from phosphene_server.values.kernel import ApplyKernelRequest, ApplyKernelResponse
from phosphene_server.values.maximization import (
    MaximizationFrame,
    MaximizationProgress,
    MaximizationResult,
    MaximizationWarning,
    MaximizeActivationRequest,
)
from phosphene_server.values.model import Model, ModelReference, NamedTensor, Preprocessing

OpenSetting = Literal["size", "channel_order", "layout"]
"""What a manifest may leave to the file."""


@dataclass(frozen=True)
class ModelSource:
    """A model file that the repository vouches for, and what its manifest says; all a worker needs to load it.

    `reference` is complete (version and format chosen), and is what a worker keeps the loaded model under.
    """

    reference: ModelReference
    path: Path
    sha256: str
    size_bytes: int
    description: str
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    logits_layer: str
    """The layer of the class logits; empty: the importer takes the output, or what a final softmax reads."""
    picture_input: str = ""
    """The input that reads pictures; empty: the first of floating-point numbers with four axes."""
    other_inputs: tuple[NamedTensor, ...] = ()
    """What the other inputs get where a request does not say it; one number stands for a tensor full of it."""
    left_open: frozenset[OpenSetting] = frozenset()
    """The settings of `preprocessing` that the manifest leaves to the file."""


# Tasks


@dataclass(frozen=True)
class DescribeModel:
    """Load the model if needed and describe it. Answered with `Model`."""

    source: ModelSource


@dataclass(frozen=True)
class UnloadModel:
    """Forget the model. Answered with a bool: whether it was loaded. Raises ModelBusy."""

    reference: ModelReference


@dataclass(frozen=True)
class ExtractFilters:
    """Answered with `ExtractFiltersResponse`."""

    source: ModelSource
    request: ExtractFiltersRequest


@dataclass(frozen=True)
class ApplyKernel:
    """Answered with `ApplyKernelResponse`. `source` is the model of a layer's kernel, otherwise None."""

    source: ModelSource | None
    request: ApplyKernelRequest


@dataclass(frozen=True)
class PrepareMaximization:
    """Check a request against its model and fill in what only the model knows (the size; the class index).

    Answered with `MaximizeActivationRequest`, complete but for nothing: sent again, it gives the same pictures.
    """

    source: ModelSource
    request: MaximizeActivationRequest


Task = DescribeModel | UnloadModel | ExtractFilters | ApplyKernel | PrepareMaximization
TaskReply = Model | bool | ExtractFiltersResponse | ApplyKernelResponse | MaximizeActivationRequest

Done = TypeVar("Done")
"""What a piece of work returns."""


class BetweenSteps(Protocol):
    """Does a short piece of a task while nobody else uses the device, waits for it and returns what it returns.

    A worker that steps maximizations does it between two steps, while the rest of the task, the decoding and
    compressing of pictures, goes on beside them on a thread of its own.
    """

    def __call__(self, work: Callable[[], Done], /) -> Done:
        """Do the work; what it raises is raised here."""
        ...


def at_once(work: Callable[[], Done], /) -> Done:
    """Do the work here and now, for a device that nobody else uses."""
    return work()


# Jobs


@dataclass(frozen=True)
class Checkpoint:
    """The state of a job after a step: enough to go on elsewhere as if nothing had happened."""

    step: int
    state: bytes
    """Opaque to the front: what the engine needs (parameters, optimizer, random streams, history)."""


@dataclass(frozen=True)
class MaximizationJob:
    """A prepared request under its id, and the checkpoint from which it goes on, if any."""

    job_id: str
    source: ModelSource
    request: MaximizeActivationRequest
    checkpoint: Checkpoint | None = None
    owner: str = ""
    """Jobs of one owner share what one owner gets of the device; empty: the job is its own owner."""


@dataclass(frozen=True)
class JobProgressed:
    """How far a job is."""

    job_id: str
    progress: MaximizationProgress


@dataclass(frozen=True)
class JobFramed:
    """A frame of a job."""

    job_id: str
    frame: MaximizationFrame


@dataclass(frozen=True)
class JobWarned:
    """A warning of a job."""

    job_id: str
    warning: MaximizationWarning


@dataclass(frozen=True)
class JobCheckpointed:
    """The latest state of a job, to resume it from if the worker is lost."""

    job_id: str
    checkpoint: Checkpoint


@dataclass(frozen=True)
class JobFinished:
    """The end of a job, also of a cancelled one."""

    job_id: str
    result: MaximizationResult


@dataclass(frozen=True)
class JobFailed:
    """The end of a job that could not go on."""

    job_id: str
    error: PhospheneError


JobEvent = JobProgressed | JobFramed | JobWarned | JobCheckpointed | JobFinished | JobFailed

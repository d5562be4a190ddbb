"""What the tests of the front process share: a worker that does as it is told, and small values."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from phosphene_server.errors import PhospheneError
from phosphene_server.values.filter import ExtractFiltersResponse, FilterFigure, FilterStatistics
from phosphene_server.values.image import EncodedImage, ImageSize
from phosphene_server.values.kernel import ApplyKernelResponse, KernelResponse
from phosphene_server.values.maximization import (
    ChannelObjective,
    MaximizationFrame,
    MaximizationProgress,
    MaximizationResult,
    MaximizationWarning,
    MaximizeActivationRequest,
    StopReason,
)
from phosphene_server.values.model import Layer, Model, ModelReference, Parity, Preprocessing, TensorSpecification
from phosphene_server.values.work import (
    ApplyKernel,
    DescribeModel,
    ExtractFilters,
    JobEvent,
    JobFinished,
    JobFramed,
    JobProgressed,
    JobWarned,
    MaximizationJob,
    PrepareMaximization,
    Task,
    TaskReply,
    UnloadModel,
)


class FakeWorker:
    """Implements `Worker`: remembers what it was asked, and answers as the contract of the tasks says."""

    def __init__(self) -> None:
        self.listener: Callable[[JobEvent], None] = lambda _: None
        self.tasks: list[Task] = []
        self.jobs: list[MaximizationJob] = []
        self.cancelled: list[str] = []
        self.error: BaseException | None = None
        self.ready = asyncio.Event()
        self.ready.set()
        self.start_error: PhospheneError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.stopped = False

    async def start(self) -> None:
        await self.ready.wait()
        if self.start_error is not None:
            raise self.start_error

    async def run(self, task: Task) -> TaskReply:
        self.tasks.append(task)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return answer(task)

    def submit(self, job: MaximizationJob) -> None:
        self.jobs.append(job)

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    async def stop(self) -> None:
        self.stopped = True

    # What the tests make it say of its latest job, or of another

    def frame(self, step: int, *, data: bytes = b"picture", job_id: str | None = None) -> None:
        self.listener(JobFramed(job_id or self.jobs[-1].job_id, frame(step, data=data)))

    def progress(self, step: int, *, queue_position: int = 0, remaining: float | None = None) -> None:
        progress = MaximizationProgress(step, 256, (float(step),), 10.0, remaining, queue_position)
        self.listener(JobProgressed(self.jobs[-1].job_id, progress))

    def warn(self, step: int, *, reason: str = "NO_GRADIENT") -> None:
        self.listener(JobWarned(self.jobs[-1].job_id, MaximizationWarning(step, reason, "nothing moves")))

    def finish(self, *, stop_reason: StopReason = "steps", job_id: str | None = None) -> None:
        self.listener(JobFinished(job_id or self.jobs[-1].job_id, result(stop_reason=stop_reason)))


def answer(task: Task) -> TaskReply:
    match task:
        case DescribeModel(source=source):
            return model(source.reference)
        case UnloadModel():
            return True
        case ExtractFilters():
            return filters()
        case ApplyKernel():
            return ApplyKernelResponse((KernelResponse(ONES, PICTURE, None, 2.5),), ONES[None])
        case PrepareMaximization(request=request):
            return replace(request, size=request.size or ImageSize(32, 48), seed=request.seed or 7)


ONES = np.ones((1, 2, 3), np.float32)
PICTURE = EncodedImage(b"png", "image/png")


def frame(step: int, *, data: bytes = b"picture", dropped: int = 0) -> MaximizationFrame:
    return MaximizationFrame(step, (EncodedImage(data, "image/webp"),), (float(step),), dropped)


# Made once: values with arrays cannot be compared field by field, but are equal to themselves in lists.
RESULTS: dict[StopReason, MaximizationResult] = {
    reason: MaximizationResult(256, reason, (PICTURE,), (), (9.5,), np.arange(4.0)[:, None], 1.25)
    for reason in ("steps", "target", "plateau", "cancelled")
}


def result(*, stop_reason: StopReason = "steps") -> MaximizationResult:
    return RESULTS[stop_reason]


def request(*, linger: float = 0.0, name: str = "net") -> MaximizeActivationRequest:
    return MaximizeActivationRequest(ModelReference(name), ChannelObjective("conv1", 3), linger=linger)


def filters() -> ExtractFiltersResponse:
    statistics = FilterStatistics(index=0, norm=1.5, minimum=-1.0, maximum=1.0, mean=0.25, dead=False)
    figure = FilterFigure(PICTURE, 1, 1, 1, 1, True, 8, "conv1: 1 of 1", low=None, high=0.5)
    return ExtractFiltersResponse(ONES[None], None, (0,), 1, (statistics,), figure)


def model(reference: ModelReference) -> Model:
    return Model(
        reference=reference,
        description="a network",
        sha256="ab" * 32,
        size_bytes=5,
        producer="pytorch",
        inputs=(TensorSpecification("input", "float32", (-1, 3, 32, 48)),),
        outputs=(TensorSpecification("logits", "float32", (-1, 2)),),
        preprocessing=Preprocessing("rgb", 0.0, 1.0, (0.5,) * 3, (0.25,) * 3, ImageSize(32, 48), fixed_size=False),
        labels=("star", "ring"),
        logits_layer="fc",
        parameter_count=12,
        layers=(Layer("conv1", "convolution", (8, 16, 24), 12, (8, 3, 3, 3)),),
        parity=Parity("onnxruntime 1.31.1", 1e-6, 10.0, (1, 3, 32, 48)),
        load_seconds=0.5,
    )


def make_root(folder: Path, *names: str) -> Path:
    """Make a repository whose models are one ONNX file each, with something in it."""
    for name in names or ("net",):
        version = folder / name / "1"
        version.mkdir(parents=True)
        (version / "model.onnx").write_bytes(b"bytes of " + name.encode())
    return folder

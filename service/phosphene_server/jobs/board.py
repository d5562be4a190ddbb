"""Maximizations: admits, starts, lists, cancels and forgets jobs."""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from phosphene_server.engine.waiting_line import rank
from phosphene_server.errors import InvalidArgument, NotFound, Overloaded, PhospheneError, nearest_names
from phosphene_server.jobs.job import Job
from phosphene_server.jobs.layer import LayerJob, LayerOrders
from phosphene_server.jobs.layer_request import chosen_channels, completed, explained, picture_request, pixel_bytes
from phosphene_server.jobs.layer_sheet import tile_size
from phosphene_server.jobs.layer_watch import LayerWatch
from phosphene_server.jobs.loaded import LoadedModels
from phosphene_server.jobs.pages import number_of, page_of
from phosphene_server.jobs.watch import Watch
from phosphene_server.models.repository import Repository
from phosphene_server.settings import Settings
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import (
    CancelMaximizationRequest,
    GetMaximizationRequest,
    LayerAccepted,
    ListMaximizationsRequest,
    ListMaximizationsResponse,
    Maximization,
    MaximizationAccepted,
    MaximizeActivationRequest,
    MaximizeLayerRequest,
    WatchLayerRequest,
    WatchMaximizationRequest,
)
from phosphene_server.values.model import Model
from phosphene_server.values.work import (
    DescribeModel,
    JobEvent,
    JobFailed,
    JobFinished,
    JobFramed,
    JobProgressed,
    JobWarned,
    MaximizationJob,
    ModelSource,
    PrepareMaximization,
)
from phosphene_server.workers.protocol import Worker

Kind = TypeVar("Kind", Job, LayerJob)

CHANNEL_MARK = "."
"""Stands between the id of a layer and the channel in the id of a picture; no id of a job has it."""

SHORTEST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0
USUAL_RETRY_SECONDS = 5.0
"""The advice to a refused caller while no job knows how long it still takes."""


class MaximizationBoard:
    """Keeps the maximizations of a worker, running and finished."""

    def __init__(
        self,
        repository: Repository,
        worker: Worker,
        loaded: LoadedModels,
        settings: Settings,
        *,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Take the models, the worker whose listener calls `hear`, and the settings.

        Args:
            repository: Finds the models.
            worker: Does the work.
            loaded: Notes which models the worker holds.
            settings: How much the board takes and keeps.
            new_id: Makes the id of a job.
            now: The time in seconds since 1970.
        """
        self._repository = repository
        self._worker = worker
        self._loaded = loaded
        self._settings = settings
        self._new_id = new_id
        self._now = now
        self._jobs: dict[str, Job | LayerJob] = {}
        self._preparing = 0
        self._count = 0
        self._forgetting: dict[str, asyncio.TimerHandle] = {}

    async def start(self, request: MaximizeActivationRequest) -> Watch:
        """Admit a maximization, have the worker check it, and start it.

        Raises:
            Overloaded: as many jobs as allowed are running or waiting.
            NotFound, ModelUnusable: the model is not there or cannot be used.
            InvalidArgument: the priority is above the highest allowed.
            PhospheneError: what else the worker found wrong with the request.
        """
        self._check_priority(request.priority)
        with self._admission():
            source = await asyncio.to_thread(self._repository.resolve, request.model)
            prepared = await self._worker.run(PrepareMaximization(source, request))
            self._loaded.used(source.reference)
            assert isinstance(prepared, MaximizeActivationRequest), type(prepared).__name__
            settings = replace(prepared, model=source.reference)
            self._check_result_size(settings)
        job = self._add(settings)
        watch = job.watch()
        self._worker.submit(MaximizationJob(job.job_id, source, settings))
        return watch

    async def start_layer(self, request: MaximizeLayerRequest) -> LayerWatch:
        """Admit the maximization of a layer, have the worker check one of its pictures, and start it.

        Raises:
            Overloaded: as many jobs as allowed are running or waiting, or the pictures of as large layers.
            NotFound, ModelUnusable: the model is not there or cannot be used.
            InvalidArgument: a channel is named twice or is not there, or there are too many; or the priority is above
                the highest allowed.
            PhospheneError: what else the worker found wrong with the request.
        """
        self._check_priority(request.priority)
        with self._admission():
            source = await asyncio.to_thread(self._repository.resolve, request.model)
            settings = await self._prepare_layer(source, request)
            assert settings.size is not None
            tile = tile_size(
                settings.sheet,
                pictures=len(settings.channels),
                size=settings.size,
                message_bytes=self._settings.maximum_message_bytes,
            )
            self._check_layer_size(settings)
        job = self._add_layer(source, settings, tile)
        watch = job.watch()
        job.begin()
        return watch

    def watch(self, request: WatchMaximizationRequest) -> Watch:
        """Return a new watcher of a job.

        Raises:
            NotFound: there is no such job, or it is forgotten, or it is a layer.
        """
        return self._job_of_kind(request.maximization_id, Job).watch(from_step=request.from_step)

    def watch_layer(self, request: WatchLayerRequest) -> LayerWatch:
        """Return a new watcher of a layer.

        Raises:
            NotFound: there is no such job, or it is forgotten, or it is no layer.
        """
        return self._job_of_kind(request.maximization_id, LayerJob).watch(from_picture=request.from_picture)

    def describe(self, request: GetMaximizationRequest) -> Maximization:
        """Return a job.

        Raises:
            NotFound: there is no such job, or it is forgotten.
        """
        return self._job(request.maximization_id).describe()

    def cancel(self, request: CancelMaximizationRequest) -> bool:
        """End a job before its next step; return False when it had ended before.

        Raises:
            NotFound: there is no such job, or it is forgotten.
        """
        return self._job(request.maximization_id).cancel()

    def list(self, request: ListMaximizationsRequest) -> ListMaximizationsResponse:
        """Return a page of the jobs, the newest first.

        A page token is the number of the last job of its page, so jobs that come meanwhile shift nothing.

        Raises:
            InvalidArgument: the page token is not one of ours.
        """
        below = number_of(request.page_token)
        jobs = [job for job in reversed(self._jobs.values()) if below is None or job.number < below]
        page, more = page_of(jobs, start=0, size=request.page_size)
        return ListMaximizationsResponse(
            tuple(_without_tensors(job.describe()) for job in page),
            next_page_token=str(page[-1].number) if more else "",
        )

    def hear(self, event: JobEvent) -> None:
        """Take an event from the worker; of a job that is not known (any more), nothing."""
        job_id, _, channel = event.job_id.partition(CHANNEL_MARK)
        job = self._jobs.get(job_id)
        if job is None or job.ended:
            return
        if isinstance(job, LayerJob):
            job.hear(int(channel), event)
            return
        match event:
            case JobProgressed(progress=progress):
                job.progressed(progress)
            case JobFramed(frame=frame):
                job.framed(frame)
            case JobWarned(warning=warning):
                job.warned(warning)
            case JobFinished(result=result):
                job.finished(result)
            case JobFailed(error=error):
                job.failed(error)
        if job.ended:
            self._keep_for_a_while(job)

    def close(self) -> None:
        """Stop all timers."""
        for timer in self._forgetting.values():
            timer.cancel()
        for job in self._jobs.values():
            job.forget()

    @contextmanager
    def _admission(self) -> Iterator[None]:
        """Hold a place while a job is prepared.

        Raises:
            Overloaded: there is none.
        """
        if self._active() >= self._settings.maximum_jobs:
            detail = f"{self._settings.maximum_jobs} maximizations are running or waiting (setting maximum_jobs)"
            raise Overloaded(detail, self._retry_seconds())
        self._preparing += 1
        try:
            yield
        finally:
            self._preparing -= 1

    async def _prepare_layer(self, source: ModelSource, request: MaximizeLayerRequest) -> MaximizeLayerRequest:
        """Return a request with all defaults filled in."""
        model = await self._worker.run(DescribeModel(source))
        self._loaded.used(source.reference)
        assert isinstance(model, Model), type(model).__name__
        channels = chosen_channels(request, model.layers, limit=self._settings.maximum_layer_channels)
        request = replace(request, model=source.reference, channels=channels)
        try:
            prepared = await self._worker.run(PrepareMaximization(source, picture_request(request, max(channels))))
        except PhospheneError as error:
            raise explained(error, request) from error
        assert isinstance(prepared, MaximizeActivationRequest), type(prepared).__name__
        return completed(request, prepared)

    def _active(self) -> int:
        return self._preparing + sum(not job.ended for job in self._jobs.values())

    def _retry_seconds(self) -> float:
        """Return when a place may be free: when the first of the jobs thinks that it ends."""
        known = [job.remaining_seconds for job in self._jobs.values() if not job.ended]
        soonest = min((seconds for seconds in known if seconds is not None), default=USUAL_RETRY_SECONDS)
        return min(max(soonest, SHORTEST_RETRY_SECONDS), LONGEST_RETRY_SECONDS)

    def _check_priority(self, priority: int) -> None:
        """Refuse a request that wants more than the operator grants.

        Raises:
            InvalidArgument: the priority is above the highest allowed.
        """
        highest = self._settings.maximum_priority
        if priority > highest:
            expected = f"1, or up to {highest} (setting maximum_priority)" if highest > 1 else "1"
            raise InvalidArgument("priority", str(priority), expected)

    def _check_result_size(self, settings: MaximizeActivationRequest) -> None:
        """Refuse a job whose result could not be sent, before it is computed.

        Raises:
            InvalidArgument: the tensors that are asked for do not fit into a message.
        """
        if not settings.result.tensors or settings.size is None:
            return
        float32_bytes, colors = 4, 3
        size = settings.pictures * colors * settings.size.height * settings.size.width * float32_bytes
        if size > self._settings.maximum_message_bytes:
            raise InvalidArgument(
                "result.tensors",
                f"{size} bytes of pictures",
                f"at most {self._settings.maximum_message_bytes} bytes: fewer, smaller or encoded pictures",
            )

    def _check_layer_size(self, settings: MaximizeLayerRequest) -> None:
        """Refuse a layer whose pictures would take too much memory, alone or beside those that are being drawn.

        Raises:
            InvalidArgument: alone.
            Overloaded: beside the others.
        """
        limit, wanted = self._settings.running_layer_bytes, pixel_bytes(settings)
        if wanted > limit:
            most = limit * len(settings.channels) // wanted
            raise InvalidArgument(
                "channels",
                f"{len(settings.channels)} pictures of {wanted:,} bytes together",
                f"at most {limit:,} bytes (setting running_layer_bytes): {most} pictures of this size in one request",
            )
        layers = [job for job in self._jobs.values() if isinstance(job, LayerJob) and not job.ended]
        taken = sum(pixel_bytes(layer.settings) for layer in layers)
        if taken + wanted > limit:
            detail = f"{len(layers)} layers are running or waiting, whose pictures take {taken:,} bytes of {limit:,}"
            raise Overloaded(f"{detail} (setting running_layer_bytes)", self._retry_seconds())

    def _add(self, settings: MaximizeActivationRequest) -> Job:
        position = self._queue_position(settings)
        job_id = self._new_id()
        self._count += 1
        job = Job(
            MaximizationAccepted(job_id, settings, position),
            number=self._count,
            create_time=self._now(),
            history_bytes=self._settings.frame_history_bytes,
            cancel=lambda: self._worker.cancel(job_id),
        )
        self._jobs[job_id] = job
        return job

    def _queue_position(self, settings: MaximizeActivationRequest) -> int:
        """Return how many jobs the worker will start before a new one, 0 if it starts at once.

        The worker has the same order and the last word: what it knows of memory, it tells in progress.
        """
        active = [job for job in self._jobs.values() if not job.ended]
        singles = [job for job in active if isinstance(job, Job)]
        waiting = [job for job in singles if job.queue_position > 0]
        if waiting:
            own = rank(arrival_seconds=self._now(), priority=settings.priority)
            return 1 + sum(
                rank(arrival_seconds=job.create_time, priority=job.settings.priority) <= own for job in waiting
            )
        lanes = sum(job.settings.pictures for job in singles)
        lanes += sum(job.running_pictures for job in active if isinstance(job, LayerJob))
        return int(lanes > 0 and lanes + settings.pictures > self._settings.maximum_running_lanes)

    def _add_layer(self, source: ModelSource, settings: MaximizeLayerRequest, tile: ImageSize) -> LayerJob:
        job_id = self._new_id()
        self._count += 1

        def submit(channel: int) -> None:
            request = picture_request(settings, channel)
            self._worker.submit(MaximizationJob(_picture_id(job_id, channel), source, request, owner=job_id))

        job = LayerJob(
            LayerAccepted(job_id, settings, len(settings.channels)),
            number=self._count,
            create_time=self._now(),
            tile=tile,
            progress_seconds=self._settings.progress_seconds,
            orders=LayerOrders(
                submit=submit,
                cancel=lambda channel: self._worker.cancel(_picture_id(job_id, channel)),
                ended=lambda: self._keep_for_a_while(job),
            ),
        )
        self._jobs[job_id] = job
        return job

    def _job_of_kind(self, job_id: str, kind: type[Kind]) -> Kind:
        job = self._job(job_id)
        if not isinstance(job, kind):
            wanted = "maximization of a layer" if kind is LayerJob else "maximization of one objective"
            raise NotFound(wanted, job_id, (), "maximization_id")
        return job

    def _job(self, job_id: str) -> Job | LayerJob:
        try:
            return self._jobs[job_id]
        except KeyError:
            raise NotFound("maximization", job_id, nearest_names(job_id, self._jobs), "maximization_id") from None

    def _keep_for_a_while(self, job: Job | LayerJob) -> None:
        """Forget a job that has ended after its time, and the one that ended first when there are too many.

        Of layers, too, the one that ended first is forgotten when their pictures are too large together.
        """
        loop = asyncio.get_running_loop()
        self._forgetting[job.job_id] = loop.call_later(self._settings.finished_job_seconds, self._forget, job.job_id)
        while len(self._forgetting) > self._settings.finished_jobs:
            self._forget(next(iter(self._forgetting)))
        layers = [ended for ended in map(self._jobs.get, self._forgetting) if isinstance(ended, LayerJob)]
        size = sum(layer.kept_bytes for layer in layers)
        for layer in layers[:-1]:
            if size > self._settings.finished_layer_bytes:
                size -= layer.kept_bytes
                self._forget(layer.job_id)

    def _forget(self, job_id: str) -> None:
        self._forgetting.pop(job_id).cancel()
        del self._jobs[job_id]


def _picture_id(job_id: str, channel: int) -> str:
    """Return the id under which the worker knows the picture of a channel."""
    return f"{job_id}{CHANNEL_MARK}{channel}"


def _without_tensors(job: Maximization) -> Maximization:
    """Leave out what is too large for a list of jobs."""
    if job.layer_settings is not None:
        return replace(job, layer_settings=replace(job.layer_settings, fixed_inputs=()))
    assert job.settings is not None
    return replace(job, settings=replace(job.settings, fixed_inputs=()))

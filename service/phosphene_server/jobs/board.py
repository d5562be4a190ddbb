"""Maximizations: admits, starts, lists, cancels and forgets jobs."""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from phosphene_server.errors import InvalidArgument, NotFound, Overloaded, nearest_names
from phosphene_server.jobs.job import Job
from phosphene_server.jobs.loaded import LoadedModels
from phosphene_server.jobs.pages import number_of, page_of
from phosphene_server.jobs.watch import Watch
from phosphene_server.models.repository import Repository
from phosphene_server.settings import Settings
from phosphene_server.values.maximization import (
    CancelMaximizationRequest,
    GetMaximizationRequest,
    ListMaximizationsRequest,
    ListMaximizationsResponse,
    Maximization,
    MaximizationAccepted,
    MaximizeActivationRequest,
    WatchMaximizationRequest,
)
from phosphene_server.values.work import (
    JobEvent,
    JobFailed,
    JobFinished,
    JobFramed,
    JobProgressed,
    JobWarned,
    MaximizationJob,
    PrepareMaximization,
)
from phosphene_server.workers.protocol import Worker

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
        self._jobs: dict[str, Job] = {}
        self._preparing = 0
        self._count = 0
        self._forgetting: dict[str, asyncio.TimerHandle] = {}

    async def start(self, request: MaximizeActivationRequest) -> Watch:
        """Admit a maximization, have the worker check it, and start it.

        Raises:
            Overloaded: as many jobs as allowed are running or waiting.
            NotFound, ModelUnusable: the model is not there or cannot be used.
            PhospheneError: what else the worker found wrong with the request.
        """
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

    def watch(self, request: WatchMaximizationRequest) -> Watch:
        """Return a new watcher of a job.

        Raises:
            NotFound: there is no such job, or it is forgotten.
        """
        return self._job(request.maximization_id).watch(from_step=request.from_step)

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
        job = self._jobs.get(event.job_id)
        if job is None or job.ended:
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

    def _active(self) -> int:
        return self._preparing + sum(not job.ended for job in self._jobs.values())

    def _retry_seconds(self) -> float:
        """Return when a place may be free: when the first of the jobs thinks that it ends."""
        known = [job.remaining_seconds for job in self._jobs.values() if not job.ended]
        soonest = min((seconds for seconds in known if seconds is not None), default=USUAL_RETRY_SECONDS)
        return min(max(soonest, SHORTEST_RETRY_SECONDS), LONGEST_RETRY_SECONDS)

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

    def _add(self, settings: MaximizeActivationRequest) -> Job:
        ahead = sum(not job.ended for job in self._jobs.values())
        job_id = self._new_id()
        position = max(0, ahead + 1 - self._settings.maximum_running_jobs)
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

    def _job(self, job_id: str) -> Job:
        try:
            return self._jobs[job_id]
        except KeyError:
            raise NotFound("maximization", job_id, nearest_names(job_id, self._jobs), "maximization_id") from None

    def _keep_for_a_while(self, job: Job) -> None:
        """Forget a job that has ended after its time, and the one that ended first when there are too many."""
        loop = asyncio.get_running_loop()
        self._forgetting[job.job_id] = loop.call_later(self._settings.finished_job_seconds, self._forget, job.job_id)
        while len(self._forgetting) > self._settings.finished_jobs:
            self._forget(next(iter(self._forgetting)))

    def _forget(self, job_id: str) -> None:
        self._forgetting.pop(job_id).cancel()
        del self._jobs[job_id]


def _without_tensors(job: Maximization) -> Maximization:
    """Leave out what is too large for a list of jobs."""
    return replace(job, settings=replace(job.settings, fixed_inputs=()))

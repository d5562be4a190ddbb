import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phosphene_server.errors import InvalidArgument, LayerUnusable, NotFound, Overloaded, WorkerLost
from phosphene_server.jobs.board import MaximizationBoard
from phosphene_server.jobs.loaded import LoadedModels
from phosphene_server.jobs.watch import Watch
from phosphene_server.models.repository import Repository
from phosphene_server.settings import Settings
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import (
    CancelMaximizationRequest,
    GetMaximizationRequest,
    ListMaximizationsRequest,
    Maximization,
    MaximizationAccepted,
    ResultOptions,
    WatchMaximizationRequest,
)
from phosphene_server.values.model import ModelReference, NamedTensor
from phosphene_server.values.work import Checkpoint, JobCheckpointed, JobFailed, PrepareMaximization
from tests.unit.jobs.front_fakes import FakeWorker, frame, make_root, request, result

MakeBoard = Callable[..., MaximizationBoard]


@pytest.fixture
async def worker() -> FakeWorker:
    return FakeWorker()


@pytest.fixture
async def make_board(tmp_path: Path, worker: FakeWorker):
    boards = []

    def make(**limits: float) -> MaximizationBoard:
        ids = iter(f"job-{number}" for number in range(1, 1000))
        board = MaximizationBoard(
            Repository(make_root(tmp_path / "root"), bundled=tmp_path / "none"),
            worker,
            LoadedModels(8),
            Settings(**limits),
            new_id=lambda: next(ids),
            now=lambda: 1000.0,
        )
        worker.listener = board.hear
        boards.append(board)
        return board

    yield make
    for board in boards:
        board.close()


def job(board: MaximizationBoard, job_id: str = "job-1") -> Maximization:
    return board.describe(GetMaximizationRequest(job_id))


async def events(watch: Watch, count: int) -> list[object]:
    return [await anext(watch) for _ in range(count)]


# Starting


async def test_a_job_is_prepared_submitted_and_told_with_its_settings(make_board: MakeBoard, worker) -> None:
    watch = await make_board().start(request())
    assert isinstance(worker.tasks[0], PrepareMaximization)
    settings = replace(request(), model=ModelReference("net", "1", "onnx"), size=ImageSize(32, 48), seed=7)
    assert await anext(watch) == MaximizationAccepted("job-1", settings, 0)
    (submitted,) = worker.jobs
    assert (submitted.job_id, submitted.request, submitted.checkpoint) == ("job-1", settings, None)
    assert submitted.source.path.name == "model.onnx"


async def test_events_reach_the_watcher_and_change_the_state(make_board: MakeBoard, worker: FakeWorker) -> None:
    board = make_board()
    watch = await board.start(request())
    assert job(board).state == "queued"
    worker.progress(0, queue_position=2)
    assert job(board).state == "queued"
    worker.progress(4)
    assert job(board).state == "running"
    assert job(board).progress.step == 4
    worker.listener(JobCheckpointed("job-1", Checkpoint(4, b"")))
    worker.frame(5)
    worker.finish()
    assert (await events(watch, 4))[2:] == [frame(5), result()]
    with pytest.raises(StopAsyncIteration):
        await anext(watch)
    assert (job(board).state, job(board).progress.step, job(board).create_time) == ("succeeded", 256, 1000.0)


async def test_a_job_that_fails_raises_to_every_watcher_and_is_remembered(make_board: MakeBoard, worker) -> None:
    board = make_board()
    watches = [await board.start(request()), board.watch(WatchMaximizationRequest("job-1"))]
    worker.listener(JobFailed("job-1", WorkerLost("gone for good")))
    watches.append(board.watch(WatchMaximizationRequest("job-1")))
    for watch in watches:
        assert isinstance(await anext(watch), MaximizationAccepted)
        with pytest.raises(WorkerLost):
            await anext(watch)
    assert (job(board).state, job(board).error) == ("failed", "the worker process was lost: gone for good")


async def test_what_the_worker_finds_wrong_is_raised_and_leaves_no_job(make_board: MakeBoard, worker) -> None:
    board = make_board(maximum_jobs=1)
    worker.error = LayerUnusable("relu", "is no convolution")
    for _ in range(3):  # the place is given back each time
        with pytest.raises(LayerUnusable):
            await board.start(request())
    with pytest.raises(NotFound, match="did you mean 'net'"):
        await board.start(request(name="nett"))
    assert worker.jobs == []


async def test_tensors_that_would_not_fit_into_the_result_are_refused_before_they_are_computed(make_board) -> None:
    board = make_board(maximum_message_bytes=3 * 32 * 48 * 4 * 2)
    fitting = replace(request(), result=ResultOptions(tensors=True), pictures=2)
    await board.start(fitting)
    with pytest.raises(InvalidArgument, match=r"^result\.tensors: expected at most 36864 bytes"):
        await board.start(replace(fitting, pictures=3))


# Admission


async def test_more_jobs_than_allowed_are_refused_with_the_time_to_come_again(make_board: MakeBoard, worker) -> None:
    board = make_board(maximum_jobs=2)
    await board.start(request())
    worker.progress(1, remaining=12.5)
    await board.start(request())
    with pytest.raises(Overloaded) as caught:
        await board.start(request())
    assert caught.value.retry_after_seconds == 12.5
    worker.finish(job_id="job-1")
    await board.start(request())


async def test_jobs_that_are_being_prepared_count(make_board: MakeBoard, worker: FakeWorker) -> None:
    board = make_board(maximum_jobs=1)
    worker.gate.clear()
    preparing = asyncio.ensure_future(board.start(request()))
    while not worker.tasks:
        await asyncio.sleep(0.001)
    with pytest.raises(Overloaded):
        await board.start(request())
    preparing.cancel()
    await asyncio.wait([preparing])
    worker.gate.set()
    await board.start(request())


async def test_a_job_is_told_how_many_start_before_it(make_board: MakeBoard) -> None:
    board = make_board(maximum_running_lanes=2)
    positions = [(await anext(await board.start(request()))).queue_position for _ in range(4)]
    assert positions == [0, 0, 1, 2]


async def test_an_urgent_job_is_told_how_many_start_before_it_by_priority(make_board: MakeBoard, worker) -> None:
    board = make_board(maximum_running_lanes=1)
    for _ in range(3):
        await board.start(request())  # one runs, two wait
    urgent = await board.start(replace(request(), priority=4))
    assert (await anext(urgent)).queue_position == 1


@pytest.mark.parametrize(("priority", "highest"), [(5, 4), (1000, 4), (2, 1)])
async def test_a_priority_above_the_highest_is_refused_with_it(make_board: MakeBoard, priority, highest) -> None:
    board = make_board(maximum_priority=highest)
    with pytest.raises(InvalidArgument, match="priority") as caught:
        await board.start(replace(request(), priority=priority))
    assert caught.value.field == "priority"
    await board.start(replace(request(), priority=highest))


# Watchers


async def test_a_job_ends_when_its_last_watcher_leaves(make_board: MakeBoard, worker: FakeWorker) -> None:
    board = make_board()
    first = await board.start(request())
    second = board.watch(WatchMaximizationRequest("job-1"))
    first.close()
    assert worker.cancelled == []
    second.close()
    assert worker.cancelled == ["job-1"]
    worker.finish(stop_reason="cancelled")
    assert job(board).state == "cancelled"


async def test_a_lingering_job_ends_only_when_nobody_returns(make_board: MakeBoard, worker: FakeWorker) -> None:
    board = make_board()
    (await board.start(request(linger=0.1))).close()
    await asyncio.sleep(0.02)
    again = board.watch(WatchMaximizationRequest("job-1"))
    await asyncio.sleep(0.15)
    assert worker.cancelled == []
    again.close()
    await asyncio.sleep(0.15)
    assert worker.cancelled == ["job-1"]


async def test_a_watcher_of_a_finished_job_leaves_without_a_trace(make_board: MakeBoard, worker: FakeWorker) -> None:
    board = make_board()
    watch = await board.start(request(linger=0.01))
    worker.finish()
    watch.close()
    board.watch(WatchMaximizationRequest("job-1")).close()
    await asyncio.sleep(0.03)
    assert worker.cancelled == []


async def test_a_late_watcher_gets_the_kept_frames_and_the_result(make_board: MakeBoard, worker: FakeWorker) -> None:
    board = make_board()
    first = await board.start(request())
    for step in (8, 16, 24):
        worker.frame(step)
    late = board.watch(WatchMaximizationRequest("job-1", from_step=16))
    only_new = board.watch(WatchMaximizationRequest("job-1"))
    worker.finish()
    after = board.watch(WatchMaximizationRequest("job-1", from_step=0))
    accepted = await anext(first)
    assert [event async for event in late] == [accepted, frame(16), frame(24), result()]
    assert [event async for event in only_new] == [accepted, result()]
    assert [event async for event in after] == [accepted, frame(8), frame(16), frame(24), result()]


async def test_steps_that_a_resumed_job_repeats_are_told_once(make_board: MakeBoard, worker: FakeWorker) -> None:
    board = make_board()
    watch = await board.start(request())
    await anext(watch)
    for step in (8, 16, 8, 16, 24):
        worker.frame(step)
        worker.progress(step)
    late = board.watch(WatchMaximizationRequest("job-1", from_step=0))
    assert [event.step for event in (await events(late, 4))[1:]] == [8, 16, 24]
    assert job(board).progress.step == 24


# Cancelling and forgetting


async def test_cancelling_ends_a_job_with_its_result_so_far(make_board: MakeBoard, worker: FakeWorker) -> None:
    board = make_board()
    watch = await board.start(request())
    assert board.cancel(CancelMaximizationRequest("job-1"))
    assert worker.cancelled == ["job-1"]
    worker.finish(stop_reason="cancelled")
    assert (await events(watch, 2))[1] is result(stop_reason="cancelled")
    assert not board.cancel(CancelMaximizationRequest("job-1"))
    assert worker.cancelled == ["job-1"]


async def test_finished_jobs_are_forgotten_after_their_time(make_board: MakeBoard, worker: FakeWorker) -> None:
    board = make_board(finished_job_seconds=0.05)
    await board.start(request())
    worker.finish()
    assert job(board).state == "succeeded"
    await asyncio.sleep(0.1)
    for ask in (board.describe, board.cancel, board.watch):
        with pytest.raises(NotFound, match="no maximization is named 'job-1'"):
            ask(WatchMaximizationRequest("job-1"))


async def test_only_so_many_finished_jobs_are_kept_the_latest(make_board: MakeBoard, worker: FakeWorker) -> None:
    board = make_board(finished_jobs=2)
    for number in (1, 2, 3):
        await board.start(request())
        worker.finish(job_id=f"job-{number}")
    await board.start(request())
    kept = board.list(ListMaximizationsRequest()).maximizations
    assert [item.maximization_id for item in kept] == ["job-4", "job-3", "job-2"]


async def test_events_of_forgotten_and_ended_jobs_are_ignored(make_board: MakeBoard, worker: FakeWorker) -> None:
    board = make_board()
    await board.start(request())
    worker.finish()
    worker.frame(300)
    worker.listener(JobFailed("job-1", WorkerLost("too late")))
    worker.frame(1, job_id="nobody")
    assert job(board).state == "succeeded"


# Lists


async def test_the_list_is_newest_first_and_new_jobs_do_not_shift_its_pages(make_board: MakeBoard) -> None:
    board = make_board()
    for _ in range(5):
        await board.start(request())
    first = board.list(ListMaximizationsRequest(page_size=2))
    await board.start(request())
    second = board.list(ListMaximizationsRequest(page_size=2, page_token=first.next_page_token))
    third = board.list(ListMaximizationsRequest(page_size=2, page_token=second.next_page_token))
    pages = [[item.maximization_id for item in page.maximizations] for page in (first, second, third)]
    assert pages == [["job-5", "job-4"], ["job-3", "job-2"], ["job-1"]]
    assert third.next_page_token == ""


async def test_the_list_leaves_out_tensors(make_board: MakeBoard) -> None:
    board = make_board()
    await board.start(replace(request(), fixed_inputs=(NamedTensor("mask", np.ones(3)),)))
    (listed,) = board.list(ListMaximizationsRequest()).maximizations
    assert listed.settings.fixed_inputs == ()
    assert job(board).settings.fixed_inputs == (NamedTensor("mask", np.ones(3)),)


@pytest.mark.parametrize("token", ["x", "-1", "1.5", "²", "9" * 50, " 1"])
async def test_a_page_token_of_somebody_else_is_refused(make_board: MakeBoard, token: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^page_token: expected the next_page_token"):
        make_board().list(ListMaximizationsRequest(page_token=token))

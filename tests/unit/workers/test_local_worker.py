"""A worker process as the front sees it, with a process that needs no torch."""

import asyncio
import os
import sys
import time

import pytest
from supervision_bench import make_job

from phosphene_server.errors import NotFound, WorkerLost
from phosphene_server.settings import Settings
from phosphene_server.values.model import ModelReference
from phosphene_server.values.work import UnloadModel
from phosphene_server.workers import local, process
from phosphene_server.workers.local import LocalWorker


def task(name: str) -> UnloadModel:
    return UnloadModel(ModelReference(name))


@pytest.fixture(autouse=True)
def obedient_child(monkeypatch):
    monkeypatch.setattr(process, "CHILD_MODULE", "obedient_child")
    for name in process.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def make_worker():
    workers = []

    def make(**settings) -> LocalWorker:
        worker = LocalWorker(Settings(**settings), worker_events.append, on_exit=worker_exits.append)
        workers.append(worker)
        return worker

    worker_events, worker_exits = [], []
    make.events, make.exits = worker_events, worker_exits
    yield make
    for worker in workers:
        await worker.stop()


@pytest.fixture
async def worker(make_worker):
    worker = make_worker()
    await worker.start()
    return worker


async def test_tasks_are_answered_to_those_who_asked(worker):
    names = [str(number) for number in range(20)]
    assert await asyncio.gather(*(worker.run(task(name)) for name in names)) == names


async def test_the_error_of_a_task_crosses_the_line_whole(worker):
    with pytest.raises(NotFound) as caught:
        await worker.run(task("fail"))
    assert caught.value.nearest == ("somebody",)


async def test_an_answer_that_nobody_waits_for_is_dropped(worker):
    abandoned = asyncio.create_task(worker.run(task("a")))
    await asyncio.sleep(0)
    abandoned.cancel()
    assert await worker.run(task("b")) == "b"


async def test_jobs_and_cancellations_reach_the_process_and_events_the_listener(worker, make_worker):
    worker.submit(make_job("a"))
    worker.cancel("a")
    await worker.run(task("barrier"))
    assert [event.progress.step for event in make_worker.events] == [1, 2]


async def test_the_end_of_the_process_is_noticed_at_once(worker, make_worker):
    began = time.monotonic()
    waiting = [asyncio.create_task(worker.run(task(name))) for name in ("exit", "never answered")]
    for reply in waiting:
        with pytest.raises(WorkerLost, match="exit code 7"):
            await reply
    assert make_worker.exits == ["exit code 7"]
    assert time.monotonic() - began < 2
    with pytest.raises(WorkerLost, match="exit code 7"):
        await worker.run(task("too late"))


async def test_a_kill_is_told_by_its_name(worker, make_worker):
    os.kill(worker._line._process.pid, 9)
    with pytest.raises(WorkerLost):
        await worker.run(task("a"))
    assert make_worker.exits == ["killed by SIGKILL"]


@pytest.mark.parametrize(
    ("device", "message"),
    [("missing", "it cannot work: device: expected cpu"), ("broken", "exit code 9 before it was ready")],
)
async def test_a_process_that_cannot_work_says_why(make_worker, device, message):
    with pytest.raises(WorkerLost, match=message):
        await make_worker(device=device).start()
    assert make_worker.exits == []


async def test_a_process_that_is_never_ready_is_given_up(make_worker):
    worker = make_worker(device="slow", worker_start_seconds=0.5)
    with pytest.raises(WorkerLost, match=r"not ready in 0\.5 s"):
        await worker.start()
    assert worker._line._process.returncode == -9


async def test_stopping_is_no_loss_and_leaves_nothing_behind(worker, make_worker):
    await worker.stop()
    assert worker._line._process.returncode == 0
    assert make_worker.exits == []


async def test_a_process_that_does_not_end_is_killed(make_worker, monkeypatch):
    monkeypatch.setattr(local, "EXIT_SECONDS", 0.2)
    worker = make_worker(device="stubborn")
    await worker.start()
    await worker.stop()
    assert worker._line._process.returncode == -9


async def test_a_process_that_says_something_unreadable_is_ended(worker, make_worker):
    with pytest.raises(WorkerLost):
        await worker.run(task("garbage"))
    assert make_worker.exits == ["killed by SIGKILL"]


async def test_the_process_finds_the_modules_of_the_front(worker):
    found = await worker.run(task("path"))
    assert {folder or os.getcwd() for folder in sys.path} <= set(found)


async def test_the_process_has_a_session_of_its_own_and_no_input(worker):
    assert await worker.run(task("session")) != os.getsid(0)
    assert await worker.run(task("input")) == ""


async def test_the_process_keeps_large_blocks_of_memory_and_its_threads_wait_asleep(worker):
    environment = await worker.run(task("environment"))
    assert environment["MALLOC_MMAP_THRESHOLD_"] == "1073741824"
    assert environment["MALLOC_TRIM_THRESHOLD_"] == "4294967296"
    assert environment["GOMP_SPINCOUNT"] == "10000"


async def test_what_an_operator_sets_goes_before(make_worker, monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    worker = make_worker()
    await worker.start()
    assert (await worker.run(task("environment")))["GOMP_SPINCOUNT"] == "7"

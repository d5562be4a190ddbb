import asyncio

import pytest
from supervision_bench import TASK, SupervisionBench, make_job, settle

from phosphene_server.errors import WorkerLost
from phosphene_server.settings import Settings
from phosphene_server.values.work import JobCheckpointed, JobFailed, JobFinished, JobFramed, JobProgressed, JobWarned
from phosphene_server.workers.supervisor import LONGEST_PAUSE_SECONDS


async def test_events_pass_except_checkpoints(bench):
    bench.supervised.submit(make_job("a"))
    bench.worker.progress("a", 1)
    bench.worker.checkpoint("a", 1)
    bench.worker.frame("a", 2)
    bench.worker.finish("a")
    assert [type(event) for event in bench.events] == [JobProgressed, JobFramed, JobFinished]


async def test_a_job_goes_on_from_its_last_checkpoint_and_is_warned(bench):
    bench.supervised.submit(make_job("a"))
    bench.worker.progress("a", 10)
    for step in (5, 8):
        bench.worker.checkpoint("a", step)
    await bench.lose_worker()
    assert bench.worker.jobs["a"].checkpoint.step == 8
    warning = bench.of("a", JobWarned)[0].warning
    assert (warning.step, warning.reason) == (10, "WORKER_RESTARTED")
    assert "SIGKILL" in warning.message
    assert "step 8" in warning.message


async def test_a_job_that_had_not_started_is_resumed_without_a_warning(bench):
    bench.supervised.submit(make_job("a"))
    bench.worker.progress("a", 0, queue_position=1)
    await bench.lose_worker()
    assert "a" in bench.worker.jobs
    assert not bench.of("a", JobWarned)


async def test_a_resumed_job_repeats_no_step_to_the_listener(bench):
    bench.supervised.submit(make_job("a"))
    for step in (10, 20):
        bench.worker.frame("a", step)
        bench.worker.warn("a", 20)
        bench.worker.progress("a", step)
    bench.worker.checkpoint("a", 5)
    await bench.lose_worker()
    for step in (5, 10, 20, 30):
        bench.worker.frame("a", step)
        bench.worker.progress("a", step)
    bench.worker.warn("a", 20)
    assert [event.frame.step for event in bench.of("a", JobFramed)] == [10, 20, 30]
    assert [event.progress.step for event in bench.of("a", JobProgressed)] == [10, 20, 20, 30]
    assert [event.warning.reason for event in bench.of("a", JobWarned)] == ["NO_GRADIENT", "WORKER_RESTARTED"]


async def test_what_a_lost_worker_still_says_is_not_heard(bench):
    bench.supervised.submit(make_job("a"))
    lost = bench.worker
    await bench.lose_worker()
    lost.finish("a")
    assert not bench.ended("a")


async def test_a_job_that_keeps_losing_its_worker_fails_after_the_allowed_losses(bench):
    bench.supervised.submit(make_job("a"))
    for _ in range(3):
        bench.worker.progress("a", 1)
        await bench.lose_worker()
        assert not bench.ended("a")
    bench.worker.progress("a", 1)
    await bench.lose_worker()
    assert isinstance(bench.of("a", JobFailed)[0].error, WorkerLost)
    assert bench.worker.jobs == {}


async def test_a_poisonous_job_takes_no_other_job_with_it(bench):
    jobs = {f"job {number}" for number in range(5)} | {"poison"}
    for job_id in sorted(jobs):
        bench.supervised.submit(make_job(job_id))
    for _ in range(40):
        placed = [job_id for job_id in bench.worker.jobs if not bench.ended(job_id)]
        for job_id in placed:
            bench.worker.progress(job_id, 1)
        if "poison" in placed:
            await bench.lose_worker()
        for job_id in placed:
            if job_id != "poison":
                bench.worker.checkpoint(job_id, 2)
    assert bench.of("poison", JobFailed)
    assert not any(bench.of(job_id, JobFailed) for job_id in jobs - {"poison"})
    assert len(bench.workers) <= 2 + 2 + 1


async def test_suspects_are_tried_one_at_a_time_and_new_jobs_wait(bench):
    for job_id in "ab":
        bench.supervised.submit(make_job(job_id))
    for _ in range(2):
        for job_id in "ab":
            bench.worker.progress(job_id, 7)
        await bench.lose_worker()
    bench.supervised.submit(make_job("new"))
    assert set(bench.worker.jobs) == {"a"}
    bench.worker.checkpoint("a", 7)
    assert set(bench.worker.jobs) == {"a"}
    bench.worker.checkpoint("a", 8)
    assert set(bench.worker.jobs) == {"a", "b"}
    bench.worker.finish("b")
    assert set(bench.worker.jobs) == {"a", "b", "new"}


async def test_a_job_is_cancelled_in_the_next_worker_when_its_own_is_lost(bench):
    bench.supervised.submit(make_job("a"))
    bench.worker.progress("a", 1)
    bench.worker.die()
    bench.supervised.cancel("a")
    await settle()
    assert bench.worker.cancelled == ["a"]


async def test_a_cancelled_job_does_not_wait_for_the_trial_of_another(bench):
    for job_id in "ab":
        bench.supervised.submit(make_job(job_id))
    for _ in range(2):
        for job_id in "ab":
            bench.worker.progress(job_id, 7)
        await bench.lose_worker()
    bench.supervised.cancel("b")
    assert bench.worker.cancelled == ["b"]


async def test_a_task_is_tried_again_once(bench):
    reply = asyncio.create_task(bench.supervised.run(TASK))
    await settle()
    await bench.lose_worker()
    bench.worker.answer()
    assert await reply is True


async def test_a_task_that_loses_two_workers_fails(bench):
    reply = asyncio.create_task(bench.supervised.run(TASK))
    for _ in range(2):
        await settle()
        await bench.lose_worker()
    with pytest.raises(WorkerLost, match="SIGKILL"):
        await reply
    assert len(bench.workers) == 3


async def test_a_task_that_kills_workers_fails_no_job(bench):
    bench.supervised.submit(make_job("a"))
    for _ in range(10):
        task = asyncio.create_task(bench.supervised.run(TASK))
        await settle()
        bench.worker.progress("a", 1)
        if bench.worker._tasks:
            await bench.lose_worker()
        bench.worker.checkpoint("a", 50)
        task.cancel()
    assert not bench.ended("a")


async def test_pauses_between_restarts_double_while_nothing_gets_done(bench):
    for _ in range(10):
        await bench.lose_worker()
    assert bench.pauses[:4] == [0.0, 0.5, 1.0, 2.0]
    assert bench.pauses[-1] == LONGEST_PAUSE_SECONDS


async def test_work_that_gets_done_ends_the_pauses(bench):
    for _ in range(3):
        await bench.lose_worker()
    bench.supervised.submit(make_job("a"))
    bench.worker.checkpoint("a", 1)
    await bench.lose_worker()
    assert bench.pauses[-1] == 0.0


async def test_when_no_worker_can_be_started_all_work_fails_until_one_can(bench):
    bench.supervised.submit(make_job("a"))
    task = asyncio.create_task(bench.supervised.run(TASK))
    await settle()
    bench.failing_starts = 6
    started = len(bench.workers)
    bench.worker.die()
    while len(bench.workers) < started + 5:
        await asyncio.sleep(0)
    bench.supervised.submit(make_job("b"))
    await settle()
    assert [isinstance(bench.of(job_id, JobFailed)[0].error, WorkerLost) for job_id in "ab"] == [True, True]
    with pytest.raises(WorkerLost, match="no device"):
        await task
    bench.supervised.submit(make_job("c"))
    assert "c" in bench.worker.jobs


async def test_a_first_worker_that_cannot_be_started_is_an_error():
    bench = SupervisionBench(Settings())
    bench.failing_starts = 1
    with pytest.raises(WorkerLost, match="no device"):
        await bench.supervised.start()
    await bench.supervised.stop()


async def test_stopping_stops_the_worker_and_ends_waiting_tasks():
    bench = SupervisionBench(Settings())
    await bench.supervised.start()
    bench.failing_starts = 3
    bench.worker.die()
    task = asyncio.create_task(bench.supervised.run(TASK))
    await asyncio.sleep(0)
    await bench.supervised.stop()
    with pytest.raises(WorkerLost, match="stopping"):
        await task


async def test_no_checkpoint_reaches_the_listener(bench):
    bench.supervised.submit(make_job("a"))
    bench.worker.checkpoint("a", 3)
    assert not bench.of("a", JobCheckpointed)

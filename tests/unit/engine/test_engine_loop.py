"""How jobs and tasks share the loop."""

import threading
from dataclasses import replace

import pytest
from engine_bench import Bench, make_job

from phosphene_server.engine.failures import DeviceLost
from phosphene_server.errors import InternalError, InvalidArgument, Overloaded
from phosphene_server.settings import Settings
from phosphene_server.values.model import ModelReference
from phosphene_server.values.work import JobFailed, JobFinished, JobProgressed, UnloadModel

TASK = UnloadModel(ModelReference("paper"))


def test_jobs_of_one_group_are_stepped_in_one_batch(bench):
    bench.submit(make_job("a", steps=2))
    bench.submit(make_job("b", steps=3))
    bench.run()
    assert bench.maximizer.batches == [("a", "b"), ("a", "b"), ("b",)]


def test_a_job_joins_between_two_steps(bench):
    def join() -> None:
        if len(bench.maximizer.batches) == 2:
            bench.submit(make_job("b", steps=1))

    bench.maximizer.before_step = join
    bench.submit(make_job("a", steps=4))
    bench.run()
    assert bench.maximizer.batches == [("a",), ("a",), ("a",), ("a", "b")]


def test_a_group_of_slow_steps_does_not_starve_one_of_fast_steps(bench):
    bench.submit(make_job("slow", steps=10, model="large:1.0"))
    bench.submit(make_job("fast", steps=100, model="small:0.1"))
    bench.run()
    until_fast_ended = bench.maximizer.batches[: bench.maximizer.batches.index(("fast",)) + 105]
    assert until_fast_ended.count(("slow",)) <= 11


def test_jobs_over_the_limit_wait_in_order_and_are_told_their_position():
    bench = Bench(Settings(maximum_running_lanes=1))
    for job_id in "abc":
        bench.submit(make_job(job_id, steps=2))
    bench.run()
    positions = [event.progress.queue_position for event in bench.of("c", JobProgressed)]
    assert positions == [2, 1, 0, 0]
    assert bench.maximizer.batches == [("a",), ("a",), ("b",), ("b",), ("c",), ("c",)]


def test_of_an_owner_who_waits_the_first_job_alone_is_told_a_position():
    bench = Bench(Settings(maximum_running_lanes=1))
    bench.submit(make_job("before", steps=2))
    for job_id in ("first", "second"):
        bench.submit(replace(make_job(job_id, steps=2), owner="layer"))
    bench.run()
    positions = {
        job_id: [event.progress.queue_position for event in bench.of(job_id, JobProgressed)]
        for job_id in ("first", "second")
    }
    assert positions["first"][:2] == [1, 0]
    assert positions["second"][0] in (0, 1)
    assert set(positions["first"][2:]) | set(positions["second"][1:]) == {0}


def test_a_cancelled_job_makes_no_further_step_and_tells_what_it_has(bench):
    bench.maximizer.before_step = lambda: bench.engine.cancel("a") if len(bench.maximizer.batches) == 2 else None
    bench.submit(make_job("a", steps=100))
    bench.run()
    result = bench.of("a", JobFinished)[0].result
    assert (result.step, result.stop_reason, result.images[0].data) == (3, "cancelled", b"\x03")
    assert len(bench.maximizer.batches) == 3


def test_a_job_that_is_cancelled_before_it_starts_has_no_pictures(bench):
    bench.submit(make_job("a"))
    bench.engine.cancel("a")
    bench.run()
    result = bench.events[-1].result
    assert (result.step, result.stop_reason, result.images, result.objective) == (0, "cancelled", (), ())
    assert result.history.shape == (0, 1)
    assert bench.maximizer.batches == []


def test_cancelling_an_unknown_job_does_nothing(bench):
    bench.engine.cancel("nobody")
    bench.submit(make_job("a", steps=1))
    assert isinstance(bench.run()[-1], JobFinished)


def test_a_task_waits_for_one_step_at_most(bench):
    def ask() -> None:
        if len(bench.maximizer.batches) == 3:
            bench.engine.do(TASK, lambda answer: None)

    bench.maximizer.before_step = ask
    bench.submit(make_job("a", steps=10))
    bench.run()
    assert bench.task_steps == [4]


def test_tasks_that_ask_for_further_tasks_do_not_starve_a_job(bench):
    def again(answer: object) -> None:
        bench.engine.do(TASK, again)

    again(None)
    bench.submit(make_job("a", steps=5))
    bench.run()
    assert bench.events[-1].result.step == 5


def test_tasks_are_answered_in_the_order_in_which_they_came(bench):
    answers = []
    for number in range(5):
        bench.engine.do(TASK, lambda answer, number=number: answers.append(number))
    bench.submit(make_job("a", steps=1))
    bench.run()
    assert answers == [0, 1, 2, 3, 4]


def test_a_task_that_fails_is_answered_without_internals_and_the_loop_goes_on(bench):
    answers = []
    bench.engine.do(UnloadModel(ModelReference("broken")), answers.append)
    bench.submit(make_job("a", steps=1))
    bench.run()
    assert isinstance(answers[0], InternalError)
    assert "secret" not in str(answers[0])
    assert isinstance(bench.events[-1], JobFinished)


def test_an_idle_engine_wakes_for_a_job(bench):
    thread = threading.Thread(target=bench.run)
    thread.start()
    bench.submit(make_job("a", steps=1))
    thread.join(10)
    assert isinstance(bench.events[-1], JobFinished)


def test_an_engine_that_is_stopped_tells_nothing_more(bench):
    bench.maximizer.before_step = lambda: bench.engine.stop() if len(bench.maximizer.batches) == 2 else None
    bench.submit(make_job("a", steps=100))
    bench.run()
    assert not bench.of("a", JobFinished)
    assert len(bench.maximizer.batches) == 3


def test_a_job_that_cannot_start_fails_alone(bench):
    bench.maximizer.refused["bad"] = InvalidArgument("objective.channel", "9", "a channel below 8")
    for job_id in ("bad", "good"):
        bench.submit(make_job(job_id))
    bench.run()
    assert bench.of("bad", JobFailed)[0].error is bench.maximizer.refused["bad"]
    assert bench.of("good", JobFinished)


def test_a_poisonous_job_fails_and_its_neighbours_lose_no_step(bench):
    bench.maximizer.poison["bad"] = RuntimeError("secret detail of the step")
    for job_id in ("a", "bad", "b"):
        bench.submit(make_job(job_id, steps=6))
    bench.run()
    assert [type(event.error) for event in bench.of("bad", JobFailed)] == [InternalError]
    assert [bench.of(job_id, JobFinished)[0].result.step for job_id in "ab"] == [6, 6]


def test_neighbours_are_stepped_together_again_when_the_guilty_one_is_gone(bench):
    bench.maximizer.poison["bad"] = RuntimeError()
    for job_id in ("a", "bad", "b"):
        bench.submit(make_job(job_id, steps=6))
    bench.run()
    assert bench.maximizer.batches[0] == ("a", "bad", "b")
    guilty_found = bench.maximizer.batches.index(("bad",))
    assert bench.maximizer.batches[guilty_found + 1] == ("a", "b")


def test_a_batch_too_large_for_the_memory_is_stepped_apart(bench):
    step = bench.maximizer.step

    def small_memory(lanes) -> None:
        if len(lanes) > 1:
            raise Overloaded("the memory of the device is full", 5.0)
        step(lanes)

    bench.maximizer.step = small_memory
    for job_id in "ab":
        bench.submit(make_job(job_id, steps=3))
    bench.run()
    assert all(bench.of(job_id, JobFinished) for job_id in "ab")


def test_a_step_that_fails_half_way_is_not_made_twice(bench):
    step = bench.maximizer.step

    def half(lanes) -> None:
        if len(lanes) > 1:
            lanes[0].step += 1
            raise RuntimeError
        step(lanes)

    bench.maximizer.step = half
    for job_id in "ab":
        bench.submit(make_job(job_id, steps=4))
    bench.run()
    assert bench.maximizer.batches.count(("a",)) == 3
    assert bench.maximizer.batches.count(("b",)) == 4


def test_a_job_whose_report_fails_leaves_the_others_alone(bench):
    def spoil() -> None:
        bench.maximizer.lanes["a"].fails_at_report = True

    bench.maximizer.before_step = spoil
    for job_id in "ab":
        bench.submit(make_job(job_id, steps=3))
    bench.run()
    assert isinstance(bench.of("a", JobFailed)[0].error, InternalError)
    assert bench.of("b", JobFinished)[0].result.step == 3


def test_a_lost_device_ends_the_loop(bench):
    bench.maximizer.poison["a"] = DeviceLost("illegal address")
    bench.submit(make_job("a"))
    with pytest.raises(DeviceLost):
        bench.run()
    assert not bench.of("a", JobFailed)

"""How owners, priorities, tasks and loads share the loop; the clock of the bench moves by steps alone."""

from collections import Counter
from dataclasses import replace

import pytest
from engine_bench import Bench, make_job, make_source

from phosphene_server.settings import Settings
from phosphene_server.values.work import DescribeModel, JobFinished, JobProgressed

SETTINGS = Settings(maximum_running_lanes=256, progress_seconds=1000.0, checkpoint_seconds=1000.0)


def asking(job_id: str, *, priority: int = 1, owner: str = "", **options):
    job = make_job(job_id, **options)
    return replace(job, request=replace(job.request, priority=priority), owner=owner)


def stop_after(bench: Bench, batches: int) -> None:
    bench.maximizer.before_step = lambda: bench.engine.stop() if len(bench.maximizer.batches) == batches else None


def positions(bench: Bench, job_id: str) -> list[int]:
    """Return the places in the queue that a job was told, without repetitions."""
    told = [event.progress.queue_position for event in bench.of(job_id, JobProgressed)]
    return [position for position, before in zip(told, [None, *told], strict=False) if position != before]


def test_priority_four_gets_four_times_the_device():
    bench = Bench(SETTINGS)
    for priority in (1, 2, 4):
        bench.submit(asking(f"p{priority}", priority=priority, model=f"m{priority}", steps=10**6))
    stop_after(bench, 1400)
    bench.run()
    steps = Counter(batch[0] for batch in bench.maximizer.batches)
    assert [steps["p2"] / steps["p1"], steps["p4"] / steps["p1"]] == pytest.approx([2.0, 4.0], rel=0.05)


def test_a_layer_of_hundreds_gets_no_more_than_one_picture_of_somebody_else():
    bench = Bench(SETTINGS)
    for number in range(200):
        bench.submit(asking(f"l{number}", owner="layer", model="large", steps=10**6))
    bench.submit(asking("single", model="other", steps=10**6))
    stop_after(bench, 1000)
    bench.run()
    single = bench.maximizer.batches.count(("single",))
    assert single == pytest.approx(500, rel=0.05)
    assert max(len(batch) for batch in bench.maximizer.batches) == 8


def test_positions_fall_to_zero_one_after_the_other():
    bench = Bench(Settings(maximum_running_lanes=2))
    for number in range(6):
        bench.submit(make_job(f"j{number}", steps=5 + number))
    bench.run()
    for number in range(6):
        told = [event.progress.queue_position for event in bench.of(f"j{number}", JobProgressed)]
        waiting = [position for position in told if position]
        assert waiting == list(range(number - 1, 0, -1))
        assert told[len(waiting) :] == [0] * (len(told) - len(waiting))


def test_an_urgent_job_passes_those_that_wait_and_they_are_told():
    bench = Bench(Settings(maximum_running_lanes=1))

    def ask_urgently() -> None:
        if len(bench.maximizer.batches) == 2:
            bench.submit(asking("urgent", priority=4, steps=4))

    bench.maximizer.before_step = ask_urgently
    for job_id in ("a", "b", "c"):
        bench.submit(make_job(job_id, steps=4))
    bench.run()
    # Not the order of results, which two threads compress.
    assert list(dict.fromkeys(bench.maximizer.batches)) == [("a",), ("urgent",), ("b",), ("c",)]
    assert positions(bench, "urgent") == [1, 0]
    assert positions(bench, "b") == [1, 2, 1, 0]
    assert positions(bench, "c") == [2, 3, 2, 1, 0]


@pytest.mark.parametrize("at_step", [0, 1, 5])
def test_a_task_is_done_before_the_next_step_however_many_jobs_run(at_step):
    bench = Bench(SETTINGS)
    for number in range(100):
        bench.submit(make_job(f"j{number}", model=f"m{number % 7}", steps=3))
    done_at = []

    def ask() -> None:
        if len(bench.maximizer.batches) == at_step:
            bench.engine.do(DescribeModel(make_source()), lambda _: done_at.append(len(bench.maximizer.batches)))

    bench.maximizer.before_step = ask
    bench.run()
    assert done_at == [at_step + 1]


def test_a_task_that_comes_while_jobs_are_started_is_done_before_the_next_step():
    bench = Bench(SETTINGS)
    begin = bench.maximizer.begin
    done_at = []

    def asking_begin(job, state):
        if job.job_id == "b":
            bench.engine.do(DescribeModel(make_source()), lambda _: done_at.append(len(bench.maximizer.batches)))
        return begin(job, state)

    bench.maximizer.begin = asking_begin
    bench.maximizer.before_step = lambda: bench.submit(make_job("b")) if len(bench.maximizer.batches) == 3 else None
    bench.submit(make_job("a", steps=10))
    bench.run()
    assert done_at == [4]


def test_starting_many_slow_jobs_holds_up_running_ones_for_a_bounded_time():
    bench = Bench(SETTINGS)
    begin = bench.maximizer.begin
    gaps, last = [], [0.0]

    def slow_begin(job, state):
        bench.clock.now += 0.02
        return begin(job, state)

    def note() -> None:
        gaps.append(bench.clock.now - last[0])
        last[0] = bench.clock.now + 0.01
        if len(bench.maximizer.batches) == 2:
            for number in range(50):
                bench.submit(make_job(f"j{number}", steps=2))

    bench.maximizer.begin = slow_begin
    bench.maximizer.before_step = note
    bench.submit(make_job("first", steps=100))
    bench.run()
    assert max(gaps[1:]) <= 0.05


def test_jobs_are_stepped_while_a_model_is_loaded_and_its_job_runs_afterwards():
    bench = Bench(SETTINGS)
    bench.models.missing.add("net")
    begun, may_end = bench.hold_loads()

    def end_load() -> None:
        if len(bench.maximizer.batches) == 30:
            assert begun.wait(10)
            may_end.set()

    bench.maximizer.before_step = end_load
    bench.submit(make_job("waits", model="net", steps=2))
    bench.submit(make_job("runs", steps=31))
    bench.run()
    assert bench.maximizer.batches[:31] == [("runs",)] * 31
    assert bench.of("waits", JobFinished)
    assert bench.of("waits", JobProgressed)[0].progress.queue_position == 1


def test_five_hundred_jobs_leave_nothing_behind():
    bench = Bench(SETTINGS)
    for number in range(500):
        bench.submit(asking(f"j{number}", owner=f"o{number % 60}", model=f"m{number % 11}", steps=2))
    bench.run()
    engine = bench.engine
    assert not engine._running
    assert not engine._ending
    assert not engine._room._jobs
    assert not engine._room._held
    assert not engine._book._largest
    assert engine._book._held == 0
    assert not engine._stepper._limits._limits
    assert len(engine._stepper._turns._served) <= 60
    assert all(lanes.released for lanes in bench.maximizer.lanes.values())

"""The engine and memory: what is measured, what waits, and that a device never runs out."""

import random
from dataclasses import replace

import pytest
from engine_bench import Bench, make_job, make_source

from phosphene_server.engine.footprints import Footprint, kind_of
from phosphene_server.errors import InvalidArgument, Overloaded
from phosphene_server.settings import Settings
from phosphene_server.values.work import DescribeModel, JobFailed, JobFinished, JobProgressed

SETTINGS = Settings(maximum_running_lanes=64, progress_seconds=1000.0, checkpoint_seconds=1000.0)


def several(job_id: str, pictures: int, **options):
    job = make_job(job_id, **options)
    return replace(job, request=replace(job.request, pictures=pictures))


def most_used(bench: Bench) -> list[int]:
    """Note the memory that is really taken at each step of a bench that is about to run."""
    used = []
    step = bench.maximizer.step

    def noting(lanes) -> None:
        held = sum(
            lane.job.request.pictures * bench.maximizer.footprint(lane.job).held
            for lane in bench.maximizer.lanes.values()
            if not lane.released
        )
        together = sum(lane.job.request.pictures for lane in lanes)
        used.append(held + together * max(bench.maximizer.footprint(lane.job).step for lane in lanes))
        step(lanes)

    bench.maximizer.step = noting
    return used


def test_a_new_kind_is_measured_on_its_own_steps_and_pays_no_extra_one():
    bench = Bench(SETTINGS, new_kinds=True)
    bench.submit(make_job("a", steps=5))
    bench.run()
    assert bench.maximizer.batches == [("a",)] * 5
    assert bench.maximizer.measured == ["a"]


def test_a_kind_is_measured_once_and_company_joins_after_it():
    bench = Bench(SETTINGS, new_kinds=True, memory_bytes=10**6)
    for job_id in "abc":
        bench.submit(make_job(job_id, steps=5))
    bench.run()
    assert bench.maximizer.measured == ["a"]
    assert bench.maximizer.batches[:3] == [("a",), ("a",), ("a", "b", "c")]


def test_several_pictures_of_a_new_kind_are_measured_on_one_that_is_thrown_away():
    bench = Bench(SETTINGS, new_kinds=True)
    bench.submit(several("a", 4, steps=3))
    bench.run()
    assert bench.maximizer.measured == ["a"]
    assert bench.of("a", JobFinished)[0].result.step == 3
    assert len(bench.maximizer.batches) == 2 + 3


def test_nothing_is_measured_while_a_model_is_loaded():
    bench = Bench(SETTINGS, new_kinds=True)
    bench.models.missing.add("net")
    begun, may_end = bench.hold_loads()
    load_had_ended = []

    def end_load() -> None:
        if len(bench.maximizer.batches) == 6:
            assert begun.wait(10)
            may_end.set()

    def note() -> None:
        load_had_ended.append(may_end.is_set())
        bench.engine.cancel("a")

    bench.maximizer.before_step = end_load
    bench.maximizer.on_measured = note
    bench.submit(make_job("b", model="net", steps=2))
    bench.submit(make_job("a", steps=20000))
    bench.run()
    assert load_had_ended[0]
    assert len(bench.maximizer.batches) > 6


def test_several_pictures_that_must_be_measured_wait_for_the_load_of_somebody_else_and_then_start():
    bench = Bench(SETTINGS, new_kinds=True)
    bench.models.missing.add("net")
    begun, may_end = bench.hold_loads()
    bench.engine.do(DescribeModel(make_source("net")), lambda _: None)

    def end_load() -> None:
        if len(bench.maximizer.batches) == 4:
            assert begun.wait(10)
            may_end.set()

    bench.maximizer.before_step = end_load
    bench.maximizer.on_measured = lambda: bench.engine.cancel("a")
    known = make_job("a", model="known", steps=20000)
    bench.engine._book.learn(kind_of(known), Footprint())
    bench.submit(several("several", 4, steps=3))
    bench.submit(known)
    bench.run()
    assert bench.of("several", JobFinished)[0].result.step == 3
    assert 4 <= bench.of("a", JobFinished)[0].result.step < 20000


def test_what_does_not_fit_waits_and_small_steps_use_what_is_left():
    bench = Bench(SETTINGS, memory_bytes=1000)
    bench.maximizer.footprints["paper"] = Footprint(held=100, step=200)
    used = most_used(bench)
    for number in range(12):
        bench.submit(make_job(f"j{number}", steps=6))
    bench.run()
    assert max(used) <= 1000
    assert max(len(batch) for batch in bench.maximizer.batches) >= 2
    positions = [event.progress.queue_position for event in bench.of("j11", JobProgressed)]
    assert positions[0] > 0
    assert positions == sorted(positions, reverse=True)


@pytest.mark.parametrize("seed", range(8))
def test_random_jobs_of_new_and_known_kinds_never_take_more_than_there_is(seed):
    draw = random.Random(seed)
    budget = 400_000
    bench = Bench(SETTINGS, new_kinds=True, memory_bytes=budget)
    for kind in range(4):
        footprint = Footprint(held=draw.randint(0, 30_000), step=draw.randint(100, 60_000))
        bench.maximizer.footprints[f"k{kind}"] = footprint
    used = most_used(bench)
    for number in range(30):
        pictures = draw.choice([1, 1, 1, 2, 4])
        job = several(f"j{number}", pictures, model=f"k{draw.randrange(4)}", steps=draw.randint(1, 12))
        bench.submit(replace(job, owner=draw.choice(["", "x", "y"])))
    bench.run()
    assert max(used) <= budget
    assert all(bench.of(f"j{number}", JobFinished) for number in range(30))


def test_a_large_job_gets_its_time_although_small_ones_keep_coming():
    bench = Bench(SETTINGS, memory_bytes=1000)
    bench.maximizer.footprints["large"] = Footprint(held=100, step=900)  # all there is
    bench.maximizer.footprints["paper"] = Footprint(held=100, step=100)
    came = iter(range(200))

    def keep_coming() -> None:
        number = next(came, None)
        if number is not None:
            bench.submit(make_job(f"small{number}", steps=3))

    bench.maximizer.before_step = keep_coming
    bench.submit(make_job("first", steps=3))
    bench.submit(make_job("large", model="large", steps=3))
    bench.run()
    assert any("large" in batch for batch in bench.maximizer.batches[:12])


def test_a_job_that_never_fits_is_refused_and_the_next_one_runs():
    bench = Bench(SETTINGS, memory_bytes=1000)
    bench.maximizer.footprints["huge"] = Footprint(step=600)
    bench.submit(several("huge", 2, model="huge"))
    bench.submit(make_job("a"))
    bench.run()
    assert isinstance(bench.of("huge", JobFailed)[0].error, InvalidArgument)
    assert bench.of("a", JobFinished)


def test_models_that_nobody_uses_make_room():
    bench = Bench(SETTINGS, memory_bytes=1000)
    bench.models.size_bytes = 900
    bench.maximizer.footprints["paper"] = Footprint(step=500)
    bench.submit(make_job("a"))
    bench.run()
    assert bench.of("a", JobFinished)
    assert bench.models.size_bytes == 0


def test_full_memory_halves_the_lanes_until_they_fit():
    bench = Bench(SETTINGS, memory_bytes=10**9)
    step = bench.maximizer.step
    refused = []

    def room_for_two(lanes) -> None:
        if len(lanes) > 2:
            refused.append(len(lanes))
            raise Overloaded("the memory of the device is full", 5.0)
        step(lanes)

    bench.maximizer.step = room_for_two
    for number in range(8):
        bench.submit(make_job(f"j{number}", steps=4))
    bench.run()
    assert refused == [8, 4]
    assert all(bench.of(f"j{number}", JobFinished)[0].result.step == 4 for number in range(8))


def test_full_memory_at_a_lonely_step_is_forgiven_once():
    bench = Bench(SETTINGS)
    step = bench.maximizer.step
    errors = [Overloaded("the memory of the device is full", 5.0)]

    def fragmented(lanes) -> None:
        if errors:
            raise errors.pop()
        step(lanes)

    bench.maximizer.step = fragmented
    bench.submit(make_job("a", steps=3))
    bench.run()
    assert bench.of("a", JobFinished)[0].result.step == 3


def test_a_job_for_which_the_memory_never_suffices_fails():
    bench = Bench(SETTINGS)
    bench.maximizer.poison["a"] = Overloaded("the memory of the device is full", 5.0)
    bench.submit(make_job("a"))
    bench.run()
    assert isinstance(bench.of("a", JobFailed)[0].error, Overloaded)
    assert len(bench.maximizer.batches) == 2

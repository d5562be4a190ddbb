"""The schedule with fake jobs and a fake clock: who gets how much, who is stepped with whom."""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from phosphene_server.engine.schedule import ROUND_SECONDS, FairTurns


@dataclass(eq=False)
class FakeJob:
    name: str
    owner: str
    group: str = "g"
    lanes: int = 1
    priority: int = 1
    step_bytes_per_lane: int = 0
    steps: int = 10**9
    done: int = 0


def single(name: str, **options) -> FakeJob:
    return FakeJob(name, name, **options)


def layer(owner: str, count: int, **options) -> list[FakeJob]:
    return [FakeJob(f"{owner}{number}", owner, **options) for number in range(count)]


class Device:
    """Steps batches; a step of a group takes as long as `costs` says for each of its lanes."""

    def __init__(self, jobs: Sequence[FakeJob], *, limit: int = 8, room: int = 0, **costs: float) -> None:
        self.jobs = list(jobs)
        self.turns = FairTurns()
        self.limit = limit
        self.room = room
        self.costs = costs
        self.now = 0.0
        self.batches: list[list[FakeJob]] = []
        self.seconds: Counter[str] = Counter()
        self.finished: dict[str, float] = {}

    def turn(self) -> list[FakeJob]:
        batch = self.turns.next(self.jobs, lane_limit=lambda _: self.limit, room_bytes=self.room)
        lanes = sum(job.lanes for job in batch)
        seconds = self.costs.get(batch[0].group, 0.01) * lanes
        self.now += seconds
        self.turns.charge(batch, seconds=seconds)
        self.batches.append(batch)
        for job in batch:
            self.seconds[job.owner] += seconds * job.lanes / lanes
            job.done += 1
            if job.done == job.steps:
                self.finished[job.name] = self.now
                self.jobs.remove(job)
        return batch

    def run(self, *, until: Callable[[], bool]) -> None:
        while not until():
            self.turn()

    def run_for(self, seconds: float) -> None:
        end = self.now + seconds
        self.run(until=lambda: self.now >= end)


def names(batch: Sequence[FakeJob]) -> list[str]:
    return [job.name for job in batch]


def test_jobs_of_one_group_are_stepped_in_one_batch():
    device = Device([single("a"), single("b"), single("c")])
    assert names(device.turn()) == ["a", "b", "c"]


def test_a_batch_has_no_more_lanes_than_a_step_may_have():
    device = Device(layer("layer", 20), limit=8)
    device.run_for(5.0)
    assert {len(batch) for batch in device.batches} == {8}


def test_the_pictures_of_a_layer_are_finished_one_after_another():
    device = Device(layer("layer", 24, steps=10), limit=8)
    device.run(until=lambda: not device.jobs)
    ends = list(device.finished.values())
    assert ends == sorted(ends)
    assert ends[7] == pytest.approx(ends[-1] / 3)


def test_a_layer_of_five_hundred_does_not_hold_up_one_picture_in_the_same_group():
    device = Device([*layer("layer", 500), single("one", steps=50)])
    device.run(until=lambda: "one" in device.finished)
    before = next(index for index, batch in enumerate(device.batches) if "one" in names(batch))
    assert all("one" in names(batch) for batch in device.batches[before:])  # a step whenever the device makes one
    assert before * 8 * 0.01 <= ROUND_SECONDS


def test_a_layer_of_five_hundred_does_not_hold_up_one_picture_in_another_group():
    device = Device([*layer("layer", 500, group="large"), single("one", group="small")], large=0.02, small=0.01)
    device.run_for(60.0)
    assert device.seconds["one"] == pytest.approx(device.seconds["layer"], rel=0.02)


def test_groups_get_their_share_of_time_whatever_a_step_costs():
    device = Device([single("slow", group="slow"), single("fast", group="fast")], slow=0.1, fast=0.01)
    device.run_for(60.0)
    assert device.seconds["slow"] == pytest.approx(device.seconds["fast"], rel=0.02)
    steps = Counter(batch[0].name for batch in device.batches)
    assert steps["fast"] == pytest.approx(10 * steps["slow"], rel=0.02)


def test_time_is_shared_in_proportion_to_priority():
    device = Device([single(f"p{priority}", group=f"g{priority}", priority=priority) for priority in (1, 2, 4)])
    device.run_for(70.0)
    for priority in (1, 2, 4):
        assert device.seconds[f"p{priority}"] == pytest.approx(10.0 * priority, rel=0.03)


def test_an_owner_weighs_as_much_as_its_most_urgent_job():
    urgent = [FakeJob("low", "o", priority=1), FakeJob("high", "o", priority=3)]
    device = Device([*urgent, single("other", group="other")], limit=2)
    device.run_for(40.0)
    assert device.seconds["o"] == pytest.approx(3 * device.seconds["other"], rel=0.03)


def test_two_layers_of_one_group_share_its_time():
    device = Device([*layer("a", 100), *layer("b", 100)])
    device.run_for(60.0)
    assert device.seconds["a"] == pytest.approx(device.seconds["b"], rel=0.02)


def test_everybody_has_a_turn_in_a_round():
    device = Device([single(f"j{number}", group=f"g{number}") for number in range(10)])
    device.run_for(2.0)
    places: dict[str, list[float]] = {}
    now = 0.0
    for batch in device.batches:
        now += 0.01
        places.setdefault(batch[0].name, []).append(now)
    gaps = [later - earlier for times in places.values() for earlier, later in itertools.pairwise(times)]
    assert len(places) == 10
    assert max(gaps) <= 2 * ROUND_SECONDS


def test_a_batch_changes_seldom_although_two_layers_share_a_group():
    device = Device([*layer("a", 100), *layer("b", 100)], g=0.001)
    device.run_for(8.0)
    changes = sum(before != after for before, after in zip(device.batches, device.batches[1:], strict=False))
    assert changes <= len(device.batches) / 10


@pytest.mark.parametrize("count", [16, 24, 64])
def test_full_batches_stay_together_although_no_step_takes_as_long_as_another(count: int):
    chance = random.Random(0)
    device = Device([])
    changes, last = 0, {}
    for turn in range(1000):
        if turn < count:
            device.jobs.append(single(f"j{turn}"))
        device.costs["g"] = 0.02 * chance.gauss(1.0, 0.1)
        batch = device.turn()
        changes += any(last.get(job.name) != batch for job in batch)
        last |= dict.fromkeys(names(batch), batch)
    assert changes <= 2 * count
    steps = [job.done for job in device.jobs]
    assert min(steps) >= 0.8 * max(steps)  # the first ones were alone for a while


@pytest.mark.parametrize("count", [9, 12, 17])
def test_owners_are_served_alike_where_batches_must_change_at_every_turn(count: int):
    chance = random.Random(0)
    device = Device([single(f"j{number}") for number in range(count)])
    for _ in range(2000):
        device.costs["g"] = 0.02 * chance.gauss(1.0, 0.1)
        device.turn()
    assert max(device.seconds.values()) <= 1.02 * min(device.seconds.values())


def test_whoever_joins_late_makes_up_for_nothing():
    device = Device([single("old", group="old")])
    device.run_for(100.0)
    device.jobs.append(single("new", group="new"))
    before = device.seconds["old"]
    device.run_for(10.0)
    assert device.seconds["new"] == pytest.approx(5.0, rel=0.05)
    assert device.seconds["old"] - before == pytest.approx(5.0, rel=0.05)


def test_whoever_left_and_came_back_starts_level():
    a, b = single("a", group="a"), single("b", group="b")
    device = Device([a, b])
    device.run_for(1.0)
    device.jobs.remove(a)
    device.run_for(50.0)
    device.jobs.append(a)
    before = device.seconds["a"]
    device.run_for(10.0)
    assert device.seconds["a"] - before == pytest.approx(5.0, rel=0.05)


def test_lanes_that_leave_free_their_place_at_once():
    device = Device(layer("layer", 9), limit=8)
    assert names(device.turn()) == [f"layer{number}" for number in range(8)]
    del device.jobs[3]
    assert names(device.turn()) == [f"layer{number}" for number in (0, 1, 2, 4, 5, 6, 7, 8)]


def test_the_pictures_of_a_job_are_stepped_together_even_where_they_are_too_many():
    device = Device([single("wide", lanes=20), single("narrow")], limit=8)
    device.run_for(30.0)
    assert {tuple(names(batch)) for batch in device.batches} == {("wide",), ("narrow",)}
    assert device.seconds["wide"] == pytest.approx(device.seconds["narrow"], rel=0.05)


def test_a_job_that_does_not_fit_any_more_lets_smaller_ones_fill_the_batch():
    device = Device([single("a", lanes=5), single("b", lanes=5), single("c", lanes=3)], limit=8)
    assert names(device.turn()) == ["a", "c"]


def test_a_batch_is_no_larger_than_its_memory():
    device = Device(layer("layer", 8, step_bytes_per_lane=100), limit=8, room=350)
    assert len(device.turn()) == 3


def test_each_lane_takes_as_much_memory_as_the_one_that_takes_the_most():
    jobs = [single("a", step_bytes_per_lane=10), single("b", step_bytes_per_lane=100), single("c")]
    device = Device(jobs, limit=8, room=200)
    assert names(device.turn()) == ["a", "b"]


def test_a_first_job_is_stepped_however_little_room_is_left():
    device = Device([single("a", step_bytes_per_lane=100)], room=-5)
    assert names(device.turn()) == ["a"]

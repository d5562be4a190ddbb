import pytest

from phosphene_server.engine.cadence import FrameCadence, Interval, Speed
from phosphene_server.values.maximization import FrameOptions


def taken(options: FrameOptions, *, steps: int, seconds_per_step: float = 1.0) -> list[int]:
    cadence = FrameCadence(options, now=0.0)
    return [step for step in range(1, steps + 1) if cadence.takes(step, now=step * seconds_per_step)]


def test_frames_come_every_so_many_steps():
    assert taken(FrameOptions(every_steps=3), steps=10) == [3, 6, 9]


def test_zero_steps_means_no_frames():
    assert taken(FrameOptions(every_steps=0), steps=10) == []


def test_frames_come_at_most_once_in_an_interval_beginning_with_the_first_step():
    assert taken(FrameOptions(interval=2.5), steps=10) == [1, 4, 7, 10]


def test_an_interval_is_due_again_later_when_asked_so():
    interval = Interval(1.0, now=0.0)
    assert not interval.passed(now=0.9)
    assert interval.passed(now=1.0)
    interval.restart(now=1.0, at_least_seconds=5.0)
    assert not interval.passed(now=5.9)
    assert interval.passed(now=6.0)


def test_speed_is_unknown_before_time_has_passed():
    assert Speed(0, now=7.0).mark(0, now=7.0) == 0.0


def test_speed_forgets_what_was_long_ago():
    speed = Speed(0, now=0.0)
    for second in range(1, 100):
        speed.mark(second, now=float(second))
    fast = [speed.mark(99 + 10 * second, now=99.0 + second) for second in range(1, 5)]
    assert fast[-1] == pytest.approx(10.0)

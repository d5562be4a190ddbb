"""How steps are timed; the events of a CUDA device are fakes."""

from typing import ClassVar

import pytest
import torch

from phosphene_server.engine import device
from phosphene_server.engine.device import CudaTimer
from phosphene_server.engine.failures import DeviceLost
from phosphene_server.engine.timing import HostTimer


class FakeEvent:
    """The n-th event is recorded n * n seconds after the first."""

    made = 0
    waited_for: ClassVar[list[int]] = []

    def __init__(self) -> None:
        self.number = FakeEvent.made
        FakeEvent.made += 1

    def synchronize(self) -> None:
        FakeEvent.waited_for.append(self.number)

    def elapsed_time(self, later: "FakeEvent") -> float:
        return 1000.0 * (later.number**2 - self.number**2)


@pytest.fixture
def timer(monkeypatch) -> CudaTimer:
    FakeEvent.made, FakeEvent.waited_for = 0, []
    monkeypatch.setattr(device, "_mark", FakeEvent)
    return CudaTimer()


def make_steps(timer: CudaTimer, count: int) -> list[float]:
    charged: list[float] = []
    for _ in range(count):
        timer.begin()
        timer.end(charged.append)
    return charged


def test_the_first_step_is_not_waited_for_and_no_more_than_two_are_under_way(timer):
    assert make_steps(timer, 1) == []
    assert make_steps(timer, 1) == []
    assert FakeEvent.waited_for == [1]  # before a third one could be asked for
    make_steps(timer, 3)
    assert FakeEvent.waited_for == [1, 3, 5, 7]


def test_each_step_is_charged_its_own_time_and_settling_charges_the_rest(timer):
    charged = make_steps(timer, 3)
    timer.settle()
    assert charged == [1.0, 9.0 - 4.0, 25.0 - 16.0]


def test_a_device_that_broke_is_found_at_the_next_step(timer, monkeypatch):
    def broken(event: FakeEvent) -> None:
        raise torch.AcceleratorError("an illegal memory access was encountered")

    make_steps(timer, 1)
    monkeypatch.setattr(FakeEvent, "synchronize", broken)
    with pytest.raises(DeviceLost):
        make_steps(timer, 1)


def test_a_step_of_the_host_is_charged_what_the_clock_says():
    now = [5.0]
    timer, charged = HostTimer(lambda: now[0]), []
    timer.begin()
    now[0] = 7.5
    timer.end(charged.append)
    assert charged == [2.5]

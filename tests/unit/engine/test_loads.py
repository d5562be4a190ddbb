"""Models are loaded beside the loop."""

import threading
from collections.abc import Callable

import pytest
from engine_bench import FakeModels, make_source

from phosphene_server.engine.failures import DeviceLost
from phosphene_server.engine.loads import ModelLoads
from phosphene_server.errors import DamagedModel


class Loop:
    """Keeps what is posted until the test calls it."""

    def __init__(self) -> None:
        self.models = FakeModels()
        self.models.missing.add("net")
        self.posted = threading.Semaphore(0)
        self.calls: list[Callable[[], None]] = []
        self.settled = 0
        self.loads = ModelLoads(self.models, self.post, after=self.note)

    def post(self, call: Callable[[], None]) -> None:
        self.calls.append(call)
        self.posted.release()

    def note(self) -> None:
        self.settled += 1

    def turn(self) -> None:
        assert self.posted.acquire(timeout=10)
        self.calls.pop(0)()


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.loads.close()


def test_a_model_that_is_there_is_used_at_once(loop):
    heard = []
    loop.loads.when_loaded(make_source("other"), heard.append)
    assert heard == [None]
    assert not loop.loads.busy


def test_who_waits_is_called_in_the_loop_in_order_and_the_model_is_loaded_once(loop):
    heard, loaded = [], []
    loop.models.load = loaded.append
    for name in "abc":
        loop.loads.when_loaded(make_source("net"), lambda error, name=name: heard.append((name, error)))
    assert loop.loads.busy
    assert heard == []
    loop.turn()
    assert heard == [("a", None), ("b", None), ("c", None)]
    assert loaded == ["net"]
    assert (loop.loads.busy, loop.settled) == (False, 1)


def test_the_model_is_held_until_all_who_waited_were_called(loop):
    holds = []
    loop.loads.when_loaded(make_source("net"), lambda _: holds.append(list(loop.models.holds)))
    loop.turn()
    assert holds == [["net"]]
    assert loop.models.holds == []


def test_who_waited_hears_why_a_model_could_not_be_loaded_and_the_next_one_tries_again(loop):
    heard, attempts = [], []

    def fail(name: str) -> None:
        attempts.append(name)
        raise DamagedModel("net", "torn")

    loop.models.load = fail
    for _ in range(2):
        loop.loads.when_loaded(make_source("net"), heard.append)
        loop.turn()
    assert [type(error) for error in heard] == [DamagedModel] * 2
    assert attempts == ["net", "net"]
    assert loop.models.holds == []


def test_unloading_comes_after_those_who_wait_for_the_load(loop):
    order = []
    loop.loads.when_loaded(make_source("net"), lambda _: order.append("use"))
    loop.loads.when_settled(make_source("net").reference, lambda: order.append("unload"))
    loop.loads.when_settled(make_source("other").reference, lambda: order.append("other"))
    loop.turn()
    assert order == ["other", "use", "unload"]


def test_a_device_that_breaks_while_loading_ends_the_loop(loop):
    def fail(name: str) -> None:
        raise DeviceLost("gone")

    loop.models.load = fail
    loop.loads.when_loaded(make_source("net"), lambda _: None)
    with pytest.raises(DeviceLost):
        loop.turn()

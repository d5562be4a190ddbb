import asyncio

import pytest

from phosphene_server.errors import WorkerLost
from phosphene_server.jobs.history import FrameHistory
from phosphene_server.jobs.watch import Watch
from phosphene_server.values.maximization import (
    MaximizationAccepted,
    MaximizationEvent,
    MaximizationFrame,
    MaximizationProgress,
    MaximizationWarning,
)
from tests.unit.jobs.front_fakes import frame, request, result

ACCEPTED = MaximizationAccepted("id", request())


def watch_of(*events: MaximizationEvent, end: bool = True) -> Watch:
    watch = Watch(lambda _: None)
    for event in events:
        watch.push(event)
    if end:
        watch.end()
    return watch


def progress(step: int) -> MaximizationProgress:
    return MaximizationProgress(step, 256)


def warning(step: int) -> MaximizationWarning:
    return MaximizationWarning(step, "NO_GRADIENT", "nothing moves")


async def read(watch: Watch) -> list[MaximizationEvent]:
    return [event async for event in watch]


def history_of(*steps: int, limit_bytes: int = 1000) -> FrameHistory:
    history = FrameHistory(limit_bytes)
    for step in steps:
        history.append(frame(step, data=b"x" * 10))
    return history


async def test_a_slow_watcher_loses_frames_and_progress_but_nothing_else() -> None:
    events: list[MaximizationEvent] = [ACCEPTED]
    for step in range(1, 5):
        events += [frame(step), progress(step), warning(step)]
    watch = watch_of(*events, result())
    assert await read(watch) == [
        ACCEPTED, warning(1), warning(2), warning(3), frame(4, dropped=3), progress(4), warning(4), result(),
    ]  # fmt: skip


async def test_a_fast_watcher_gets_everything() -> None:
    watch = watch_of(end=False)
    for step in range(3):
        watch.push(frame(step))
        assert await anext(watch) == frame(step, dropped=0)


async def test_a_watcher_waits_for_the_next_event() -> None:
    watch = watch_of(end=False)
    reading = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    assert not reading.done()
    watch.push(frame(1))
    assert await reading == frame(1)


async def test_an_error_comes_after_what_waits_and_each_watcher_has_its_own() -> None:
    error = WorkerLost("gone")
    for watch in (watch_of(frame(1), end=False), watch_of(frame(1), end=False)):
        watch.end(error)
        assert await anext(watch) == frame(1)
        with pytest.raises(WorkerLost, match="gone") as caught:
            await anext(watch)
        assert caught.value is not error


def test_leaving_is_told_once() -> None:
    left: list[Watch] = []
    watch = Watch(left.append)
    with watch:
        pass
    watch.close()
    assert left == [watch]


async def test_replayed_frames_come_in_their_place_and_live_ones_follow() -> None:
    history = history_of(0, 8, 16)
    watch = watch_of(ACCEPTED, end=False)
    watch.replay(history, from_step=8)
    watch.push(warning(12))
    watch.push(progress(20))
    seen = [await anext(watch) for _ in range(4)]
    history.append(frame(24, data=b"x" * 10))
    watch.push(frame(24, data=b"x" * 10))
    watch.push(result())
    watch.end()
    seen += await read(watch)
    steps = [(type(event).__name__[12:], getattr(event, "step", None)) for event in seen]
    assert steps == [
        ("Accepted", None), ("Frame", 8), ("Warning", 12), ("Frame", 16),
        ("Progress", 20), ("Frame", 24), ("Result", 256),
    ]  # fmt: skip


async def test_a_replaying_watcher_that_is_slow_counts_what_the_history_has_let_go() -> None:
    history = history_of(0, 8, 16, limit_bytes=30)
    watch = watch_of(end=False)
    watch.replay(history, from_step=0)
    assert await anext(watch) == frame(0, data=b"x" * 10)
    for step in (24, 32, 40):
        history.append(frame(step, data=b"x" * 10))
        watch.push(frame(step, data=b"x" * 10))
    watch.end()
    seen = [(event.step, event.dropped) for event in await read(watch) if isinstance(event, MaximizationFrame)]
    assert seen == [(24, 2), (32, 2), (40, 2)]


def test_a_history_keeps_the_newest_frames_within_its_bytes() -> None:
    history = history_of(0, 8, 16, 24, limit_bytes=20)
    assert history.first == 2
    assert [history.get(number) and history.get(number).step for number in range(5)] == [None, None, 16, 24, None]


def test_a_frame_larger_than_the_history_is_kept_alone() -> None:
    history = history_of(0, 8, limit_bytes=5)
    assert (history.first, history.get(1).step) == (1, 8)


@pytest.mark.parametrize(("step", "number"), [(0, 1), (8, 1), (9, 2), (16, 2), (17, 3)])
def test_a_history_finds_the_first_frame_of_a_step(step: int, number: int) -> None:
    assert history_of(0, 8, 16, limit_bytes=20).number_at(step) == number

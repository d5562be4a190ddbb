"""The section about waiting: for the service, for a first frame, for a cancelled lane, for a short task."""

import itertools
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import phosphene
from benchmarks.speed_block import Block, percentile, table
from benchmarks.speed_cases import ENDLESS, MODEL, Case, arguments
from benchmarks.speed_rounds import FIRST_STEPS, Stable, spread
from benchmarks.speed_server import Server

LOAD_LANES = 8
GPU_LOAD_LANES = 64
CANCEL_SLACK_SECONDS = 0.05
"""How long beyond one step until a cancelled lane is free."""


def latency(stable: Stable, *, quick: bool) -> Block:
    """Measure how long it takes until the service is there, a first frame comes, a lane is free, a task is done."""
    healthy, ready, cold = [], [], []
    for _ in range(1 if quick else 3):
        with Server(device=stable.device) as server:
            healthy.append(server.healthy_seconds)
            ready.append(server.ready_seconds)
            cold.append(first_frame_seconds(server.client))
    with Server(device=stable.device) as server:
        first_frame_seconds(server.client)
        warm = [first_frame_seconds(server.client) for _ in range(3 if quick else 15)]
        step_seconds, cancels = _cancelled(server.client, 3 if quick else 20)
        tasks = _task_waits(server.client, 20 if quick else 200, lanes=GPU_LOAD_LANES if stable.on_gpu else LOAD_LANES)
    allowed = step_seconds + CANCEL_SLACK_SECONDS
    data: dict[str, Any] = {
        "seconds": {
            "`phosphene serve` until the front is healthy": spread(healthy, digits=4),
            "`phosphene serve` until the worker is ready": spread(ready, digits=4),
            "first frame, model not loaded yet": spread(cold, digits=4),
            "first frame, model loaded": spread(warm, digits=4),
            "cancelled until its result is here": spread(cancels, digits=4),
        },
        "cancel": {
            "step_seconds": step_seconds, "largest_seconds": max(cancels), "allowed_seconds": allowed,
            "met": max(cancels) <= allowed,
        },
        "short_tasks": tasks,
    }  # fmt: skip
    return Block(data, tuple(_latency_lines(data)))


def _latency_lines(data: dict[str, Any]) -> Iterator[str]:
    rows = [(name, row["median"], *row["quartiles"]) for name, row in data["seconds"].items()]
    yield from table(("seconds", "median", "quarter", "three quarters"), rows)
    cancel = data["cancel"]
    yield (
        f"largest time of a cancellation, result included: {cancel['largest_seconds']:.3f} s; at most a step and "
        f"50 ms, {cancel['allowed_seconds']:.3f} s: {'met' if cancel['met'] else 'MISSED'}"
    )
    yield ""
    tasks = data["short_tasks"]
    columns = ("idle_p50", "idle_p99", "p50", "p99", "step_p50", "step_p99", "allowed")
    head = (f"short tasks beside {tasks['lanes']} lanes, ms", *(column.replace("_", " ") for column in columns), "")
    yield from table(
        head,
        [
            (name, *(1000 * row[column] for column in columns), "met" if row["met"] else "MISSED")
            for name, row in tasks["tasks"].items()
        ],
    )
    yield "(step: between two frames of a lane, before the tasks come; allowed: p99 of a step, and that when idle)"


def first_frame_seconds(client: phosphene.Client) -> float:
    """Return how long a caller waits for the first frame of a new job, which comes after its first step."""
    started = time.perf_counter()
    with client.maximize(**arguments(Case()), steps=ENDLESS, frame_every=1) as run:
        next(iter(run))
        return time.perf_counter() - started


def _cancelled(client: phosphene.Client, times: int) -> tuple[float, list[float]]:
    """Return the seconds of a step, and the seconds from a cancellation until the result is here, again and again.

    The result is only told when the lane is gone, and compressing it comes on top, so the lane itself is free earlier.
    """
    chance = random.Random(0)
    steps, seconds = [], []
    for _ in range(times):
        with client.maximize(**arguments(Case()), steps=ENDLESS, frame_every=1) as run:
            marks = []
            for frame in run:
                marks.append((frame.step, time.perf_counter()))
                if frame.step >= FIRST_STEPS + 8:  # behind the first steps, which may be longer
                    break
            later = [mark for mark in marks if mark[0] > FIRST_STEPS]
            steps.append((later[-1][1] - later[0][1]) / max(1, later[-1][0] - later[0][0]))
            time.sleep(chance.uniform(0, steps[-1]))
            started = time.perf_counter()
            run.cancel()
            run.result()
            seconds.append(time.perf_counter() - started)
    return statistics.median(steps), seconds


def _task_waits(client: phosphene.Client, times: int, *, lanes: int) -> dict[str, Any]:
    """Return how long short tasks take on an idle service and beside lanes, in seconds."""
    chance = random.Random(0)
    picture = np.random.default_rng(0).random((64, 64), dtype=np.float32)
    tasks: dict[str, Callable[[], object]] = {
        "ExtractFilters": lambda: client.extract_filters(MODEL, "conv2.bn", filters=[0], enlargement=1),
        "ApplyKernel": lambda: client.apply_kernel(picture, "laplacian", overlay=False),
    }
    idle = {name: [_seconds(task) for _ in range(times)] for name, task in tasks.items()}
    with _lanes(client, lanes) as marks:
        while len(marks) < FIRST_STEPS + times // 2:
            time.sleep(0.05)
        steps = [
            (later - earlier) / (step - before)
            for (before, earlier), (step, later) in itertools.pairwise(marks.copy())
            if before >= FIRST_STEPS
        ]
        busy: dict[str, list[float]] = {name: [] for name in tasks}
        for _ in range(times):
            for name, task in tasks.items():
                time.sleep(chance.uniform(0, statistics.median(steps)))  # they come at any point of a step
                busy[name].append(_seconds(task))
    rows = {}
    for name in tasks:
        alone, p99, step = (percentile(values, 0.99) for values in (idle[name], busy[name], steps))
        rows[name] = {
            "idle_p50": statistics.median(idle[name]), "idle_p99": alone,
            "p50": percentile(busy[name], 0.5), "p99": p99,
            "step_p50": statistics.median(steps), "step_p99": step,
            "allowed": step + alone, "met": p99 <= step + alone,
        }  # fmt: skip
    return {"lanes": lanes, "times": times, "tasks": rows}


@contextmanager
def _lanes(client: phosphene.Client, count: int) -> Iterator[list[tuple[int, float]]]:
    """Keep a number of one-picture jobs running; gives the steps of the last one and when a watcher saw them."""
    marks: list[tuple[int, float]] = []
    jobs = [
        client.maximize(**(arguments(Case()) | {"seed": seed}), steps=ENDLESS, frame_every=int(seed == count - 1))
        for seed in range(count)
    ]
    readers = [threading.Thread(target=_read, args=(job, marks), daemon=True) for job in jobs]
    for reader in readers:
        reader.start()
    while not marks:
        time.sleep(0.05)
    try:
        yield marks
    finally:
        for job in jobs:
            job.cancel()
        for reader in readers:
            reader.join()
        for job in jobs:
            job.close()


def _read(job: phosphene.Run, marks: list[tuple[int, float]]) -> None:
    for frame in job:
        marks.append((frame.step, time.perf_counter()))


def _seconds(task: Callable[[], object]) -> float:
    started = time.perf_counter()
    task()
    return time.perf_counter() - started

"""The section that only a GPU has: whether it is kept busy, and what the capture of CUDA graphs gives."""

import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from benchmarks.speed_block import Block, table
from benchmarks.speed_cases import Case
from benchmarks.speed_process import ContenderFailed
from benchmarks.speed_rounds import Row, Stable, Times, interleaved
from benchmarks.speed_steps import failures

LANES = (1, 4, 16, 64)
STEPS = 32
GOAL = 0.85
"""The share of the bare limit that is to be reached with the most lanes."""

PROFILED = ("phosphene", "phosphene, without graph capture", "bare", "bare, captured")


def device(stable: Stable, *, quick: bool) -> Block:
    """Measure steps of lanes, each a job of its own, beside the bare network, and how busy the device is."""
    if not stable.on_gpu:
        return Block({"failure": "no CUDA device"}, ("no CUDA device: run with --device cuda",))
    data: dict[str, Any] = {}
    lines: list[str] = []
    for lanes in (LANES[0], LANES[-1]) if quick else LANES:
        rows = device_rows(Case(pictures=lanes, separate=True))
        times = interleaved(stable, rows, steps=STEPS, rounds=2 if quick else 7)
        busy = busy_shares(stable, rows, times)
        pairs = [("bare", name) for name in times.milliseconds] + [("phosphene, without graph capture", "phosphene")]
        data[f"lanes={lanes}"] = {"milliseconds": times.report(), "busy": busy, "ratios": times.ratios(pairs)}
        lines += [*table(HEAD, _cells(times, busy, lanes)), *failures(times), ""]
    reached = times.ratio("bare", "phosphene")
    data["goal"] = {"at_least": GOAL, "measured": reached, "met": reached is not None and reached >= GOAL}
    verdict = "not measured" if reached is None else f"{reached:.3f}  {'met' if reached >= GOAL else 'MISSED'}"
    return Block(data, (*lines, f"bare / phosphene with {lanes} lanes, at least {GOAL}: {verdict}"))


def device_rows(case: Case) -> list[Row]:
    """Return what is compared."""
    bare = replace(case, separate=False)
    half = replace(case, precision="bfloat16")
    return [
        Row("phosphene", "phosphene", case, "worker"),
        Row("phosphene, without graph capture", "phosphene_uncaptured", case, "worker"),
        Row("lowered graph alone", "lowered", bare, "worker"),
        Row("bare", "bare", bare, "worker"),
        Row("bare, captured", "bare_captured", bare, "worker"),
        Row("phosphene, bfloat16", "phosphene", half, "worker"),
        Row("bare, bfloat16", "bare", replace(half, separate=False), "worker"),
    ]


def busy_shares(stable: Stable, rows: list[Row], times: Times) -> dict[str, float]:
    """Return for what share of a step the device has something to do: profiled work over the time without profiler."""
    shares = {}
    for row in rows:
        median = times.median(row.name)
        if row.name in PROFILED and median is not None:
            try:
                runs = [stable.run(row, STEPS, profiled=True) for _ in range(3)]
            except ContenderFailed as error:
                times.failures[f"{row.name}, profiled"] = str(error)
                continue
            busy = statistics.median(run["device_seconds"] for run in runs)
            shares[row.name] = round(1000 * busy / STEPS / median, 4)
    return shares


HEAD = ("ms per step", "lanes", "median", "quarter", "three quarters", "bare / it", "busy")


def _cells(times: Times, busy: Mapping[str, float], lanes: int) -> list[tuple[object, ...]]:
    return [
        (name, lanes, row["median"], *row["quartiles"], times.ratio("bare", name), busy.get(name))
        for name, row in times.report().items()
        if "median" in row
    ]

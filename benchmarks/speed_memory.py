"""The section about memory: what a lane needs, and whether a worker that works for long keeps its size."""

import asyncio
from typing import Any

import phosphene
from benchmarks.speed_block import Block, slope, table
from benchmarks.speed_cases import Case, arguments
from benchmarks.speed_process import ContenderFailed
from benchmarks.speed_rounds import Row, Stable
from benchmarks.speed_server import Server
from benchmarks.speed_usage import resident_bytes

LANES = (1, 2, 4, 8, 16)
JOBS = 500
SIMULTANEOUS_JOBS = 4
SETTLING_SHARE = 0.2
"""The share of the jobs after which the size is looked at: before, caches and threads are still being made."""

FLAT_BYTES = 20_000
"""The growth for each job below which a worker counts as flat: 10 MB in 500 jobs."""

MEGABYTE = 1e6


def memory(stable: Stable, *, quick: bool) -> Block:
    """Measure bytes per lane, and the resident memory of the service over many jobs."""
    lanes = _by_lanes(quick=quick, device=stable.device)
    flat = _over_jobs(40 if quick else JOBS, device=stable.device)
    lines = [
        *table(
            ("largest resident memory of a worker, MB", *map(str, lanes["peak_bytes"])),
            [("by lanes", *(peak / MEGABYTE for peak in lanes["peak_bytes"].values()))],
        ),
        f"a lane, by its difference: {lanes['bytes_per_lane'] / MEGABYTE:.1f} MB",
        "",
        *table(
            ("resident memory over jobs, MB", "first", "last", "largest", "bytes per job"),
            [
                (
                    name,
                    row["bytes"][0] / MEGABYTE,
                    row["bytes"][-1] / MEGABYTE,
                    max(row["bytes"]) / MEGABYTE,
                    row["slope"],
                )
                for name, row in flat["processes"].items()
            ],
        ),
        f"worker, {flat['jobs']} jobs, at most {FLAT_BYTES:,} bytes per job: "
        + ("met" if flat["processes"]["worker"]["slope"] <= FLAT_BYTES else "MISSED"),
    ]
    return Block({"lanes": lanes, "jobs": flat}, tuple(lines))


def _by_lanes(*, quick: bool, device: str) -> dict[str, Any]:
    """Step more and more lanes in a fresh process; its peak grows by what the added ones need.

    The first count includes what a process needs at all, so the slope begins behind it.
    """
    peaks = {}
    with Stable(device) as fresh:
        for count in LANES[:3] if quick else LANES:
            case = Case(pictures=count, separate=True)
            try:
                # Past the first steps, whose graphs hold more.
                peaks[count] = fresh.run(Row(str(count), "phosphene", case, "worker"), 20)["peak_bytes"]
            except ContenderFailed as error:
                return {"failure": str(error), "peak_bytes": peaks, "bytes_per_lane": 0.0}
    counts = list(peaks)
    return {"peak_bytes": peaks, "bytes_per_lane": slope(counts[1:], [peaks[count] for count in counts[1:]])}


def _over_jobs(jobs: int, *, device: str) -> dict[str, Any]:
    """Run many short jobs, some at a time and of several sizes, and look at the service after every few."""
    with Server(device=device) as server:
        counts, sizes = asyncio.run(_sizes(server, jobs))
    settled = next(place for place, count in enumerate(counts) if count >= SETTLING_SHARE * jobs)
    return {
        "jobs": jobs,
        "counts": counts,
        "processes": {
            name: {"bytes": values, "slope": round(slope(counts[settled:], values[settled:]), 1)}
            for name, values in sizes.items()
        },
    }


async def _sizes(server: Server, jobs: int) -> tuple[list[int], dict[str, list[int]]]:
    """Return after how many jobs was looked, and the resident bytes of each process then."""
    await _some_jobs(server.address, range(SIMULTANEOUS_JOBS))
    every = max(1, jobs // 50) * SIMULTANEOUS_JOBS
    counts: list[int] = []
    sizes: dict[str, list[int]] = {"front": [], "worker": []}
    for first in range(0, jobs, every):
        await _some_jobs(server.address, range(first, min(first + every, jobs)))
        counts.append(min(first + every, jobs))
        sizes["front"].append(resident_bytes(server.front))
        sizes["worker"].append(resident_bytes(server.worker))
    return counts, sizes


async def _some_jobs(address: str, numbers: range) -> None:
    turns = asyncio.Semaphore(SIMULTANEOUS_JOBS)
    async with phosphene.aio.connect(address) as client:

        async def one(number: int) -> None:
            async with turns:
                side = (64, 96, 128)[number % 3]
                case = Case(layer="conv2", parameter=side, shown=side, pictures=1 + number % 2)
                run = await client.maximize(**(arguments(case) | {"seed": number}), steps=3, frame_every=1)
                await run.result()

        await asyncio.gather(*map(one, numbers))

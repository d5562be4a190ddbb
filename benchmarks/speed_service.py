"""The section about many callers: pictures per minute together and one after another."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

import phosphene
from benchmarks.speed_block import Block, quartiles, table
from benchmarks.speed_cases import Case, arguments
from benchmarks.speed_rounds import Stable
from benchmarks.speed_server import Server

CLIENTS = (1, 4, 16, 64)
STEPS = 32
"""Steps of a picture: more would only take longer, as one step is like the other behind the first 16."""
GPU_STEPS = 256

TOGETHER_GOAL = 1.15
"""How many times more pictures a minute 64 clients must get together than one after another."""
GPU_TOGETHER_GOAL = 8.0


def clients(stable: Stable, *, quick: bool) -> Block:
    """Measure pictures per minute of concurrent clients with a picture each, against one after another."""
    counts, rounds, alone_count = (CLIENTS[:3], 1, 2) if quick else (CLIENTS, 2, 6)
    steps, goal = (GPU_STEPS, GPU_TOGETHER_GOAL) if stable.on_gpu else (STEPS, TOGETHER_GOAL)
    with Server(device=stable.device) as server:
        pairs = asyncio.run(_pairs(server.address, counts, steps=steps, rounds=rounds, alone_count=alone_count))
    rows = {count: _row(found) for count, found in pairs.items()}
    head = ("pictures per minute", "together", "one after another", "ratio")
    lines = table(head, [(f"{count} clients, {steps} steps", *row.values()) for count, row in rows.items()])
    reached = rows[max(counts)]["ratio"]
    verdict = "met" if reached >= goal else "MISSED"
    aim = f"{max(counts)} clients together, at least {goal} times one after another: {reached:.3f}  {verdict}"
    every = [alone for found in pairs.values() for _, alone in found]
    data: dict[str, Any] = {
        "steps": steps,
        "rounds": rounds,
        "pictures_per_minute": rows,
        "quartiles_one_after_another": quartiles(every),
        "goal": {"at_least": goal, "measured": reached, "met": reached >= goal},
    }
    return Block(data, (*lines, aim))


def _row(found: list[tuple[float, float]]) -> dict[str, float]:
    return {
        "together": statistics.median(together for together, _ in found),
        "one_after_another": statistics.median(alone for _, alone in found),
        "ratio": statistics.median(together / alone for together, alone in found),
    }


async def _pairs(
    address: str, counts: Sequence[int], *, steps: int, rounds: int, alone_count: int
) -> dict[int, list[tuple[float, float]]]:
    """Return for each number of clients, for each round, the pictures per minute together and one after another."""
    pairs: dict[int, list[tuple[float, float]]] = {count: [] for count in counts}
    await _one_after_another(address, 1, steps=steps)
    for _ in range(rounds):
        for count in counts:
            alone = await _one_after_another(address, alone_count, steps=steps)
            pairs[count].append((await _together(address, count, steps=steps), alone))
    return pairs


async def _together(address: str, count: int, *, steps: int) -> float:
    """Return the pictures per minute of clients that all ask at once, each over its own connection."""
    connections = [phosphene.aio.connect(address) for _ in range(count)]
    try:
        started = time.perf_counter()
        await asyncio.gather(*(_picture(client, seed, steps) for seed, client in enumerate(connections)))
        return 60 * count / (time.perf_counter() - started)
    finally:
        await asyncio.gather(*(client.close() for client in connections))


async def _one_after_another(address: str, count: int, *, steps: int) -> float:
    """Return the pictures per minute of a client that asks for one picture after the other."""
    async with phosphene.aio.connect(address) as client:
        started = time.perf_counter()
        for seed in range(count):
            await _picture(client, seed, steps)
        return 60 * count / (time.perf_counter() - started)


async def _picture(client: phosphene.aio.Client, seed: int, steps: int) -> None:
    """Ask for a picture, as a caller who watches it: with a frame every 16 steps."""
    run = await client.maximize(**(arguments(Case()) | {"seed": seed}), steps=steps)
    await run.result()

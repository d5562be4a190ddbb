"""The sections about the time of a step: against others, at three depths, and how it grows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.speed_block import Block, table
from benchmarks.speed_cases import Case
from benchmarks.speed_rounds import FIRST_STEPS, Row, Stable, Times, interleaved

CPU_STEPS = {1: 16, 4: 8}
"""Steps in a turn, by the number of pictures that are compared."""
GPU_STEPS = {1: 32, 4: 32}

LAYERS = ("conv2", "inception4a", "inception5b")
SIDES = (64, 128, 224, 320)
LANES = (1, 2, 4, 8, 16)
GPU_LANES = (1, 4, 16, 64, 128)

Goals = Mapping[tuple[str, str], float]
"""The most that the time of a row may be of another's."""

CPU_GOALS: Goals = {
    ("phosphene", "bare"): 1.1,
    ("phosphene", "lucent"): 0.3,
    ("phosphene through the server", "phosphene"): 1 / 0.95,
}
GPU_GOALS: Mapping[int, Goals] = {1: {("phosphene", "lucent"): 1 / 4}}

RATIOS = (
    ("phosphene", "bare"),
    ("phosphene", "bare, plain process"),
    ("phosphene", "bare, folded"),
    ("phosphene", "lowered graph alone"),
    ("phosphene", "lucent"),
    ("phosphene", "lucent, weights frozen"),
    ("phosphene", "torch-dreams"),
    ("phosphene through the server", "phosphene"),
    ("phosphene, first 16 steps", "phosphene"),
    ("phosphene, bfloat16", "phosphene"),
    ("phosphene, bfloat16", "bare, bfloat16"),
    ("phosphene, bfloat16", "lowered graph alone, bfloat16"),
    ("bare, plain process", "bare"),
)

KNEE = 1.03
"""A batch is full when the time of a picture is at most this many times the smallest."""


def step_rows(case: Case) -> list[Row]:
    """Return all rows of the main comparison, for a number of pictures."""
    half = replace(case, precision="bfloat16")
    return [
        Row("phosphene", "phosphene", case, "worker"),
        Row("phosphene through the server", "server", case),
        Row("bare", "bare", case, "worker"),
        Row("bare, folded", "bare_folded", case, "worker"),
        Row("bare, plain process", "bare", case),
        Row("lowered graph alone", "lowered", case, "worker"),
        Row("lucent", "lucent", case),
        Row("lucent, weights frozen", "lucent_frozen", case),
        Row("torch-dreams", "torch_dreams", case),
        Row("phosphene, first 16 steps", "phosphene", replace(case, fresh=True), "worker", steps=FIRST_STEPS),
        Row("phosphene, bfloat16", "phosphene", half, "worker"),
        Row("lowered graph alone, bfloat16", "lowered", half, "worker"),
        Row("bare, bfloat16", "bare", half, "worker"),
    ]


def step(stable: Stable, *, quick: bool) -> Block:
    """Measure the milliseconds of a step of all contenders, for 1 and 4 pictures."""
    data: dict[str, Any] = {}
    lines: list[str] = []
    for pictures, steps in (GPU_STEPS if stable.on_gpu else CPU_STEPS).items():
        rounds = 2 if quick else 7
        times = interleaved(stable, step_rows(Case(pictures=pictures)), steps=steps, rounds=rounds)
        goals = GPU_GOALS.get(pictures, {}) if stable.on_gpu else CPU_GOALS
        data[f"pictures={pictures}"] = {
            "steps_in_a_turn": steps, "rounds": rounds, "milliseconds": times.report(), "ratios": times.ratios(RATIOS),
            "goals": judged(times, goals),
        }  # fmt: skip
        lines += _step_lines(times, pictures, goals)
    return Block(data | {"idle_shares": stable.idle_shares()}, tuple(lines))


def judged(times: Times, goals: Goals) -> dict[str, Any]:
    """Return of each goal what was allowed, what was measured, and whether it is met."""
    found = {}
    for (name, other), most in goals.items():
        ratio = times.ratio(name, other)
        met = None if ratio is None else ratio <= most
        found[f"{name} / {other}"] = {"at_most": round(most, 4), "measured": ratio, "met": met}
    return found


def _step_lines(times: Times, pictures: int, goals: Goals) -> list[str]:
    rows = [
        (name, row["median"], *row["quartiles"], times.ratio(name, "bare"), times.ratio(name, "lucent"))
        for name, row in times.report().items()
        if "median" in row
    ]
    head = (f"ms per step, pictures: {pictures}", "median", "quarter", "three quarters", "of bare", "of lucent")
    verdicts = {True: "met", False: "MISSED", None: "not measured"}
    aims = [
        (name, goal["at_most"], goal["measured"], verdicts[goal["met"]]) for name, goal in judged(times, goals).items()
    ]
    return [*table(head, rows), *failures(times), "", *table(("aim", "at most", "measured", ""), aims), ""]


def layers(stable: Stable, *, quick: bool) -> Block:
    """Measure a step at three depths of the network: what lies behind the layer is not computed by us."""
    data: dict[str, Any] = {}
    rows: list[Sequence[object]] = []
    steps = 32 if stable.on_gpu else 8
    for layer in LAYERS:
        case = Case(layer=layer)
        contenders = [
            Row("phosphene", "phosphene", case, "worker"),
            Row("bare", "bare", case, "worker"),
            Row("bare, folded", "bare_folded", case, "worker"),
            Row("lucent", "lucent", case),
        ]
        times = interleaved(stable, contenders, steps=steps, rounds=2 if quick else 7)
        pairs = [("phosphene", row.name) for row in contenders[1:]]
        data[layer] = {"milliseconds": times.report(), "ratios": times.ratios(pairs)}
        medians = [times.median(row.name) for row in contenders]
        rows.append((layer, *medians, *(times.ratio(*pair) for pair in pairs)))
    head = ("ms per step", "phosphene", "bare", "folded", "lucent", "of bare", "of folded", "of lucent")
    return Block(data, table(head, rows))


def scaling(stable: Stable, *, quick: bool) -> Block:
    """Measure how a step grows with the picture's side and with the lanes, each lane a job of its own."""
    counts = GPU_LANES if stable.on_gpu else LANES
    sides = {side: Case(parameter=side, shown=side) for side in (SIDES[:2] if quick else SIDES)}
    lanes = {count: Case(pictures=count, separate=True) for count in (counts[:3] if quick else counts)}
    by_side = {side: _pair(stable, case, steps=6, quick=quick) for side, case in sides.items()}
    by_lanes = {count: _pair(stable, case, steps=max(2, 16 // count), quick=quick) for count, case in lanes.items()}
    medians = {count: times.median("phosphene") for count, times in by_lanes.items()}
    each = {count: median / count for count, median in medians.items() if median is not None}
    full = full_batch(each)
    data = {
        "sides": {side: _report(times) for side, times in by_side.items()},
        "lanes": {count: _report(times) for count, times in by_lanes.items()},
        "milliseconds_for_a_picture": {count: round(value, 3) for count, value in each.items()},
        "full_batch": full,
    }
    side_rows = [(f"{side} px", *_cells(times)) for side, times in by_side.items()]
    lane_rows = [(f"{count} lanes", *_cells(times), each.get(count)) for count, times in by_lanes.items()]
    return Block(
        data,
        (
            *table(("ms per step, one picture, shown as it is", "phosphene", "bare", "of bare"), side_rows), "",
            *table(("ms per step, 128 px shown at 224", "phosphene", "bare", "of bare", "a picture"), lane_rows),
            f"a batch is full with {full} lanes: there a picture takes at most {KNEE} times its smallest time",
        ),
    )  # fmt: skip


def full_batch(each: Mapping[int, float]) -> int | None:
    """Return the fewest lanes with which a picture takes about as little time as it ever does."""
    return next((count for count in sorted(each) if each[count] <= KNEE * min(each.values())), None)


def _pair(stable: Stable, case: Case, *, steps: int, quick: bool) -> Times:
    rows = [
        Row("phosphene", "phosphene", case, "worker"),
        Row("bare", "bare", replace(case, separate=False), "worker"),
    ]
    return interleaved(stable, rows, steps=steps, rounds=2 if quick else 5, warm_steps=1)


def _report(times: Times) -> dict[str, Any]:
    return {"milliseconds": times.report(), "ratios": times.ratios([("phosphene", "bare")])}


def _cells(times: Times) -> list[float | None]:
    return [times.median("phosphene"), times.median("bare"), times.ratio("phosphene", "bare")]


def failures(times: Times) -> list[str]:
    return [f"{name}: {text}" for name, text in times.failures.items()]

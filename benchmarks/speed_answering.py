"""A contender's end of the line: it waits for its turn, runs, and tells how long it took.

    python -m benchmarks.speed_answering NAME DEVICE SURROUNDINGS    answers a line of JSON on stdin with one on stdout

What it has prepared for a case, it keeps for the next turn: jobs go on where they were.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO, get_args

import torch

from benchmarks.speed_cases import Case
from benchmarks.speed_contenders import CONTENDERS, Run, device_of
from benchmarks.speed_process import Surroundings
from benchmarks.speed_profile import device_seconds
from benchmarks.speed_usage import resident_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender")
    parser.add_argument("device")
    parser.add_argument("surroundings", choices=get_args(Surroundings))
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a contender prints must not come between the answers
    serve(options.contender, options.device, options.surroundings, answers)


def serve(name: str, device_name: str, surroundings: Surroundings, answers: TextIO) -> None:
    """Make a contender and answer until the other end is closed."""

    def tell(answer: Mapping[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    try:
        device = device_of(device_name, surroundings)
        contender = CONTENDERS[name](device)
    except Exception as error:
        tell({"error": f"{type(error).__name__}: {error}"})
        return
    tell({})
    prepared: dict[Case, Run] = {}
    for line in sys.stdin:
        command = json.loads(line)
        case = Case(**command["case"])
        try:
            if case not in prepared:
                prepared[case] = contender.prepare(case)
            tell(measured(prepared[case], command["steps"], profiled=command["profiled"], device=device))
        except Exception as error:
            tell({"error": f"{type(error).__name__}: {error}"})


def measured(run: Run, steps: int, *, profiled: bool, device: torch.device) -> dict[str, float]:
    """Run and return what is told of it, times in seconds."""
    if profiled:
        seconds, busy = device_seconds(lambda: run(steps))
        return {"seconds": seconds, "device_seconds": busy, "peak_bytes": peak_bytes(device)}
    return {"seconds": run(steps), "peak_bytes": peak_bytes(device)}


def peak_bytes(device: torch.device) -> int:
    """Return the most memory that this process has had: that of the tensors on a GPU, else what was resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resident_bytes(os.getpid(), peak=True)


if __name__ == "__main__":
    main()

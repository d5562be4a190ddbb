"""The section about kernels: megapixels per second of the service's own sliding, beside torch and SciPy."""

import json
import subprocess
import sys

from benchmarks.speed_block import Block, table
from benchmarks.speed_cases import ROOT
from benchmarks.speed_process import ContenderFailed, environment
from benchmarks.speed_rounds import Stable

SECONDS = 600.0
"""How long it may take in all."""


def kernels(stable: Stable, *, quick: bool) -> Block:
    """Measure the application of kernels to a picture of a megapixel."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.speed_sliding", *(["--quick"] if quick else [])]
    done = subprocess.run(
        command, cwd=ROOT, env=environment("worker"), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode != 0:
        raise ContenderFailed(f"kernels: {done.stderr.strip()[-300:]}")
    data = json.loads(done.stdout)
    names = list(data["sums"])
    rows = [
        (
            case,
            *map(row["megapixels_per_second"].get, names),
            *map(row["deviation"].get, ("phosphene", "torch_float32")),
        )
        for case, row in data["sliding"].items()
    ]
    head = ("sliding, megapixels per second", *names, "deviation", "of torch_float32")
    sums = ("sums in", *data["sums"].values(), "", "")
    files = table(("files, megapixels per second", ""), [(name, value) for name, value in data["files"].items()])
    return Block(data, (*table(head, [sums, *rows]), "", *files))

"""What the numbers depend on: the machine and the versions, without names or paths of this machine. No torch here."""

import functools
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "torch-lucent", "kornia", "torch-dreams", "scipy", "numpy", "pillow", "grpcio")
QUERY_SECONDS = 120.0


class NoDevice(Exception):
    """The device that was asked for is not there."""


def machine(device: str) -> dict[str, Any]:
    """Return what the numbers depend on.

    Raises:
        NoDevice: a CUDA device was asked for, and torch finds none.
    """
    gpu = None if device == "cpu" else gpu_name(device)
    if device != "cpu" and gpu is None:
        raise NoDevice(f"no CUDA device: torch does not find {device!r} here")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": gpu,
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: installed(name) for name in PACKAGES},
    }


def processor() -> str:
    """Return the model of the processor, as Linux tells it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


@functools.cache
def gpu_name(device: str) -> str | None:
    """Return the name of a CUDA device, asked of torch in a process that ends; None where there is none."""
    program = "import sys, torch; print(torch.cuda.get_device_name(torch.device(sys.argv[1])))"
    command = [sys.executable, "-W", "ignore", "-c", program, device]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_SECONDS, check=False)
    return answer.stdout.strip() or None


def installed(name: str) -> str | None:
    """Return the version of a package, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None

"""Measures memory: how much there is, and how much a step takes. What follows from it is decided in `footprints.py`.

On a CUDA device the allocator of PyTorch keeps the counts. On the CPU nobody does; there the high-water mark of the
process's resident memory is reset before the step and read after it. glibc keeps freed memory for the next step, which
would hide it, so it is made to give it back before.
"""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import torch

from phosphene_server.models.lowering.kernels import arranged_bytes

BUDGET_SHARE = 0.8
"""The share of the free memory that models and jobs may take: the rest is for fragments, workspaces and surprises."""

PROCESS = Path("/proc/self")
CONTROL_GROUPS = Path("/sys/fs/cgroup")


class Meter(Protocol):
    """Measures the memory that is taken on a device. Others must not take or free any meanwhile."""

    def peak_bytes(self, run: Callable[[], None]) -> int:
        """Run something and return how much more was taken at its height than before it."""


class HostMeter:
    """Measures the resident memory of this process. Implements `Meter`."""

    def peak_bytes(self, run: Callable[[], None]) -> int:
        """Run something and return how far it raised the high-water mark."""
        _give_back()
        before = _resident_bytes("VmRSS")
        try:
            (PROCESS / "clear_refs").write_text("5")  # resets VmHWM, see proc(5)
            mark = "VmHWM"
        except OSError:
            mark = "VmRSS"  # the kernel forbids it; as glibc keeps what is freed, this is nearly as much
        run()
        return max(0, _resident_bytes(mark) - before)


class CudaMeter:
    """Reads the counts of PyTorch's allocator. Implements `Meter`."""

    def __init__(self, device: torch.device) -> None:
        """Take a CUDA device."""
        self._device = device

    def peak_bytes(self, run: Callable[[], None]) -> int:
        """Run something; the counts change when it is asked for, so nothing is waited for."""
        before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        run()
        return torch.cuda.max_memory_allocated(self._device) - before


def meter_of(device: torch.device) -> Meter:
    """Return what measures the memory of a device."""
    return CudaMeter(device) if device.type == "cuda" else HostMeter()


def budget_bytes(chosen: int, device: torch.device) -> int:
    """Return how much models and jobs may take together: what the settings say; 0: a share of what is free now."""
    if chosen:
        return chosen
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_host_bytes()
    return int(free * BUDGET_SHARE)


def model_bytes(module: torch.nn.Module) -> int:
    """Return about what the tensors of a model take: each once as it is, and in the forms that are fastest."""
    return sum(tensor.nbytes + arranged_bytes(tensor) for tensor in (*module.parameters(), *module.buffers()))


def free_host_bytes(*, process: Path = PROCESS, control_groups: Path = CONTROL_GROUPS) -> int:
    """Return how much memory this process may still take: what the machine has and what its container is allowed."""
    return min([_free_on_machine(), *_free_in_groups(process, control_groups)])


def _free_on_machine() -> int:
    with contextlib.suppress(OSError, StopIteration):
        return _kilobytes(Path("/proc/meminfo"), "MemAvailable") * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _free_in_groups(process: Path, root: Path) -> Iterator[int]:
    """Yield what is left in each control group that this process is in, of version 2 or 1.

    Inside a container the own path often is not there, because its own group is mounted as the root; so all parents are
    looked at, the root as well.
    """
    try:
        lines = (process / "cgroup").read_text().splitlines()
    except OSError:
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers == "":
            base, names = root, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            base, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        own = base / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(base):
                yield from _free_in_group(folder, *names)


def _free_in_group(folder: Path, limit: str, usage: str) -> Iterator[int]:
    """Yield what is left in one control group, if it has a limit; the cache of files can be given up."""
    with contextlib.suppress(OSError, ValueError):  # no such file, or `max`: no limit
        most = int((folder / limit).read_text())
        used = int((folder / usage).read_text())
        rows = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        yield max(0, most - used + int(rows.get("inactive_file", 0)))


def _resident_bytes(name: str) -> int:
    return _kilobytes(PROCESS / "status", name) * 1024


def _kilobytes(path: Path, name: str) -> int:
    """Return a row of a file of rows like `VmRSS:   123 kB`."""
    return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(f"{name}:"))


def _give_back() -> None:
    """Have glibc return freed memory to the system; other libraries of C do so by themselves or never."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)

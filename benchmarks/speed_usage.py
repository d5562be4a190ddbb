"""What the system tells of a process and those that it has started: memory and processor time (Linux, proc(5))."""

import os
from collections.abc import Iterator
from pathlib import Path

PROCESSES = Path("/proc")


def resident_bytes(process: int, *, peak: bool = False) -> int:
    """Return the resident memory of a process, now or at its largest.

    Raises:
        RuntimeError: there is no such process any more.
    """
    wanted = "VmHWM:" if peak else "VmRSS:"
    for line in (PROCESSES / str(process) / "status").read_text(encoding="ascii").splitlines():
        if line.startswith(wanted):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {process} has no {wanted}")


def processor_seconds(process: int) -> float:
    """Return the processor time that a process and all below it have used."""
    ticks = os.sysconf("SC_CLK_TCK")
    return sum(_ticks(member) for member in (process, *descendants(process))) / ticks


def descendants(process: int) -> Iterator[int]:
    """Yield the processes that a process has started, and those that these have started."""
    for child in children(process):
        yield child
        yield from descendants(child)


def children(process: int) -> list[int]:
    """Return the processes that any thread of a process has started; none when it is gone."""
    try:
        lists = [path.read_text(encoding="ascii") for path in PROCESSES.glob(f"{process}/task/*/children")]
    except OSError:
        return []
    return [int(child) for text in lists for child in text.split()]


def command(process: int) -> str:
    """Return the words with which a process was started, a space between."""
    return (PROCESSES / str(process) / "cmdline").read_bytes().replace(b"\0", b" ").decode()


def _ticks(process: int) -> int:
    """Return the processor time of a process alone, of user and system, in ticks; 0 when it is gone."""
    try:
        text = (PROCESSES / str(process) / "stat").read_text(encoding="utf-8")
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return int(fields[11]) + int(fields[12])

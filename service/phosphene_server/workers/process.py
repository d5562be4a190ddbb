"""Starts the process of a worker.

A plain subprocess with one end of a socket pair, not `multiprocessing`: spawning there imports the caller's `__main__`
again, which runs a script without a main guard twice, and forking is not possible beside gRPC and CUDA. The process
ends when its socket is closed, so it never outlives the front, however that ends.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

CHILD_MODULE = "phosphene_server.workers.child"

ENVIRONMENT: Mapping[str, str] = {
    # glibc otherwise maps and unmaps memory for every frame and activation of 128 KiB or more, and each page that comes
    # anew is cleared at its first touch. On 150 KB messages, serializing takes 3 us with them and 136 us without.
    # Those of 64 and 256 MiB are as good up to 16 pictures; with 32, whose first activation has 98 MiB, a step of
    # GoogLeNet at 224 px took 597 to 653 ms with them and 558 to 594 with these. The price: the process may keep up to
    # so much of what its largest step took until it ends. Both in bytes.
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
    # How long the threads of one operation wait for one another in a busy loop before they sleep, in rounds. The usual
    # 300,000 are a disaster as soon as anything else wants a core: on two cores with eight other busy processes, a step
    # of `shapes` at 96x96 took 370 to 1800 ms, and 58 ms without any such waiting. But without it the same step takes
    # 12.7 ms on idle cores instead of 6.5. With 10,000 rounds it takes 6.5 ms there, and 15 beside three busy others.
    "GOMP_SPINCOUNT": "10000",
}
"""What the process is started with, where the front's own environment does not say otherwise."""


def start_process() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a process and return it with the front's end of its socket.

    It has its own session, so that Ctrl-C in the terminal reaches the front alone, which drains and then ends it.

    Raises:
        OSError: the system has no room for a process.
    """
    ours, theirs = socket.socketpair()
    # -P: do not put the current folder before all others, where a user's own `queue.py` would replace the library's.
    command = [sys.executable, "-P", "-m", CHILD_MODULE, str(theirs.fileno())]
    with theirs:
        try:
            process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the front's output belongs to the front; the log goes to standard error
                env={**ENVIRONMENT, **os.environ, "PYTHONPATH": _search_path()},
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
    return process, ours


def describe_exit(code: int) -> str:
    """Return how a process ended, for people: `killed by SIGKILL` or `exit code 1`."""
    if code >= 0:
        return f"exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    return f"killed by {known.get(-code, f'signal {-code}')}"


def _search_path() -> str:
    """Return where this process finds modules, so that the child finds the same ones."""
    return os.pathsep.join(folder or os.getcwd() for folder in sys.path)

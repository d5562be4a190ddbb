"""The device that a worker owns, and what its errors mean."""

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from phosphene_server.engine.failures import DeviceLost
from phosphene_server.engine.timing import Charge
from phosphene_server.errors import InvalidArgument, Overloaded
from phosphene_server.settings import Settings

LANES_PER_STEP = {"cpu": 8, "cuda": 64}
"""The lanes of a step where the settings leave it open, by type of device: see docs/running.md."""

STEPS_IN_FLIGHT = 2
"""Steps that a device may be asked for before they are done: one that runs, and the next one, so that the device never
waits for the host, and a cancellation never for more than these."""

RETRY_AFTER_SECONDS = 5.0
"""When to come again after the memory was full: others will have finished a picture by then."""


def open_device(settings: Settings) -> torch.device:
    """Return the device that the settings name and set how it computes in this process.

    The same request must give the same bytes, so cuDNN may neither try several algorithms nor take one whose sums
    depend on the order in which threads arrive. TF32 is on for CUDA: products with 10 bits of mantissa, summed in
    float32, several times as fast; a gradient of a picture needs no more.

    Raises:
        InvalidArgument: there is no such device here.
    """
    torch.set_num_threads(settings.threads or _cores())
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    device = _named_device(settings.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cuda.matmul.fp32_precision = "tf32"  # for convolutions it is the default
    return device


def compute_alone() -> None:
    """Have torch compute on this thread without others from now on: for threads that help the loop.

    libgomp keeps a team of threads for every thread that ever computed with several. As soon as there are more of them
    than cores, each of them sleeps wherever it waits: with two such threads alive, steps took 1.25 to 1.3 times as
    long, and with two that compute alone 0.97 to 1.09 times.
    """
    usual = torch.get_num_threads()
    torch.set_num_threads(1)
    # What was set last is also what new threads begin with, and these may load models.
    restore = threading.Thread(target=torch.set_num_threads, args=(usual,))
    restore.start()
    restore.join()


def lanes_per_step(settings: Settings, device: torch.device) -> int:
    """Return the most lanes of a step: what the settings say; 0: what suits the device."""
    return settings.lanes_per_step or LANES_PER_STEP[device.type]


def _named_device(name: str) -> torch.device:
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    devices = {"auto": (cuda or ["cpu"])[0], "cpu": "cpu"} | {name: name for name in cuda}
    if cuda:
        devices["cuda"] = cuda[0]
    if name not in devices:
        raise InvalidArgument("device", repr(name), f"one of {', '.join(sorted(devices))}")
    return torch.device(devices[name])


def _cores() -> int:
    """Return how many cores this process may use; a container often has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class CudaTimer:
    """Times steps by events on the device, and lets at most two be under way. Implements `StepTimer`."""

    def __init__(self) -> None:
        self._began: torch.cuda.Event | None = None
        self._under_way: deque[tuple[torch.cuda.Event, torch.cuda.Event, Charge]] = deque()

    def begin(self) -> None:
        """Mark the beginning of a step on the device."""
        self._began = _mark()

    def end(self, charge: Charge) -> None:
        """Mark the end of a step on the device, and wait for the step before it.

        Raises:
            DeviceLost: an earlier step broke the device.
        """
        assert self._began is not None
        self._under_way.append((self._began, _mark(), charge))
        while len(self._under_way) >= STEPS_IN_FLIGHT:
            self._wait()

    def settle(self) -> None:
        """Wait for all steps.

        Raises:
            DeviceLost: one of them broke the device.
        """
        while self._under_way:
            self._wait()

    def _wait(self) -> None:
        began, ended, charge = self._under_way.popleft()
        with device_errors():
            ended.synchronize()
            milliseconds = began.elapsed_time(ended)
        charge(milliseconds / 1000)


def _mark() -> torch.cuda.Event:
    """Return an event behind all that the device was asked for. Whoever waits for it sleeps meanwhile."""
    event = torch.cuda.Event(enable_timing=True, blocking=True)  # type: ignore[no-untyped-call]  # torch's own gap
    event.record()
    return event


@contextmanager
def device_errors() -> Iterator[None]:
    """Translate the errors of a device: full memory ends a job, a broken device ends the process.

    Raises:
        Overloaded: its memory is full.
        DeviceLost: it answers no further request of this process.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise Overloaded("the memory of the device is full", RETRY_AFTER_SECONDS) from error
    except torch.AcceleratorError as error:
        raise DeviceLost(str(error)) from error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
            raise Overloaded("the memory of the machine is full", RETRY_AFTER_SECONDS) from error
        raise

"""The device that a worker owns, and what its errors mean."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from phosphene_server.engine.failures import DeviceLost
from phosphene_server.errors import InvalidArgument, Overloaded
from phosphene_server.settings import Settings

RETRY_AFTER_SECONDS = 5.0
"""When to come again after the memory was full: others will have finished a picture by then."""


def open_device(settings: Settings) -> torch.device:
    """Return the device that the settings name and set how it computes in this process.

    The same request must give the same bytes, so cuDNN may neither try several algorithms nor take one whose sums
    depend on the order in which threads arrive.

    Raises:
        InvalidArgument: there is no such device here.
    """
    torch.set_num_threads(settings.threads or _cores())
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    device = _named_device(settings.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


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

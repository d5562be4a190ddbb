"""For how long a CUDA device had something to do, by the profiler's own record of it."""

from collections.abc import Callable, Iterable

from torch.autograd import DeviceType  # type: ignore[attr-defined]  # public, but not declared so
from torch.profiler import ProfilerActivity, profile


def device_seconds(run: Callable[[], float]) -> tuple[float, float]:
    """Run something and return its own seconds and those in which the device computed or copied for it.

    The profiler slows the host down but not the device, so the second number also holds for runs without it.

    Args:
        run: Runs and returns its seconds.
    """
    with profile(activities=[ProfilerActivity.CUDA]) as record:
        seconds = run()
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in record.events()
        if event.device_type == DeviceType.CUDA
    ]
    return seconds, covered(spans) / 1e6  # from microseconds


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of what a number of spans cover together; where they overlap counts once."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total

"""How long steps take."""

from collections.abc import Callable
from typing import Protocol

Charge = Callable[[float], None]
"""Hears how many seconds a step took."""


class StepTimer(Protocol):
    """Times the steps that are asked of a device, and keeps them from piling up on it."""

    def begin(self) -> None:
        """Note that a step is about to be asked for."""

    def end(self, charge: Charge) -> None:
        """Note that it was asked for. `charge` is called when its time is known, now or at a later `end` or `settle`.

        Waits for earlier steps, so that no more are asked for than a cancellation may wait for.
        """

    def settle(self) -> None:
        """Wait for all steps."""


class HostTimer:
    """Times steps that are done when they return. Implements `StepTimer`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take a monotonic clock, in seconds."""
        self._clock = clock
        self._began = 0.0

    def begin(self) -> None:
        """Note the time."""
        self._began = self._clock()

    def end(self, charge: Charge) -> None:
        """Charge the time since `begin`."""
        charge(self._clock() - self._began)

    def settle(self) -> None:
        """Do nothing: no step is under way."""

"""Numbers of the device, read without waiting for it."""

from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

READ_BEHIND = {"cpu": 0, "cuda": 2}
"""How many steps the host is behind when it looks at numbers at each step, by type of device: as many as a device may
be asked for before they are done (`STEPS_IN_FLIGHT` of the engine), so that looking never holds it up. It is a fixed
number, not whatever has arrived, so that what follows from the numbers is the same at every run."""


class Readback:
    """A few numbers on their way to the host."""

    def __init__(self, numbers: Tensor) -> None:
        """Ask for a copy; later steps do not change it."""
        self._done: torch.cuda.Event | None = None
        if numbers.is_cuda:
            self._copy = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._copy.copy_(numbers, non_blocking=True)
            self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            self._done.record()
        else:
            self._copy = numbers.clone()

    @property
    def arrived(self) -> bool:
        """Whether `numbers` does not wait."""
        return self._done is None or bool(self._done.query())  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def numbers(self) -> Tensor:
        """Wait for the copy and return it."""
        if self._done is not None:
            self._done.synchronize()
        return self._copy


class Trace:
    """The numbers of every step, as far as the host may look at them."""

    def __init__(self, history: NDArray[np.float64], *, steps: int, behind: int) -> None:
        """Take the steps that were made before.

        Args:
            history: (step, picture).
            steps: How many steps there will be at most, these included.
            behind: How many steps later than it was made the host looks at one.
        """
        first = max(0, len(history) - behind)
        self._rows = np.empty((steps, history.shape[1]))
        self._rows[:first] = history[:first]
        self._known = first
        self._asked = deque(Readback(torch.from_numpy(row)) for row in history[first:])
        self._behind = behind

    def add(self, numbers: Tensor) -> None:
        """Note those of a step, (picture,)."""
        self._asked.append(Readback(numbers))

    def known(self, *, whole: bool) -> NDArray[np.float64]:
        """Return what the host may look at, (step, picture); `whole`: all, for which it waits."""
        while len(self._asked) > (0 if whole else self._behind):
            self._rows[self._known] = self._asked.popleft().numbers()
            self._known += 1
        return self._rows[: self._known]

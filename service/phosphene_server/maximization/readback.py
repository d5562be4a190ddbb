"""Numbers of the device, read without waiting for it."""

import torch
from torch import Tensor


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

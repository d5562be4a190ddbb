"""Copies of tensors for the host, taken in the loop and waited for on other threads.

Whoever reads a number or a picture from a CUDA device waits for all that the device was asked for before. So the loop
only asks for the copy, into pinned memory and behind the steps before it; whoever uses the copy, a thread that
compresses pictures, waits. The memory of a copy is taken from PyTorch's pool of pinned memory, which does not give it
away again before the copy is done.

On the CPU a copy is there at once; what is left to other threads is turning floats into bytes.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.engine.device import device_errors
from phosphene_server.engine.lanes import Later
from phosphene_server.pictures.encoding import to_bytes

Pixels = tuple[NDArray[np.uint8], ...]


class Snapshots(Protocol):
    """Takes copies that later steps do not change. Waiting for one raises DeviceLost if the device broke before it."""

    def copy(self, tensor: Tensor) -> Later[Tensor]:
        """Return a copy in the memory of the host."""

    def pixels(self, pictures: Tensor) -> Later[Pixels]:
        """Return pictures, (batch, 3, height, width) in [0, 1], as bytes, each (height, width, 3)."""


class HostSnapshots:
    """Copies of tensors that are in the memory of the host. Implements `Snapshots`."""

    def copy(self, tensor: Tensor) -> Later[Tensor]:
        """Copy now."""
        copied = tensor.detach().clone()
        return lambda: copied

    def pixels(self, pictures: Tensor) -> Later[Pixels]:
        """Copy now, turn into bytes later."""
        copied = pictures.detach().float().clone()
        return lambda: tuple(to_bytes(picture) for picture in copied.numpy())


class CudaSnapshots:
    """Copies of tensors that are on a CUDA device. Implements `Snapshots`."""

    def __init__(self, device: torch.device) -> None:
        """Take a CUDA device."""
        self._beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        """For copies of pictures: they go on beside the next steps."""

    def copy(self, tensor: Tensor) -> Later[Tensor]:
        """Ask for a copy before the next step, which may overwrite the tensor, and wait for it later."""
        return _asked_for(tensor.detach())

    def pixels(self, pictures: Tensor) -> Later[Pixels]:
        """Turn into bytes on the device, a quarter of the floats, and ask for a copy beside the next steps."""
        taken = as_bytes(pictures)
        self._beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._beside):
            taken.record_stream(self._beside)  # so that its memory is not used anew before it is copied
            copied = _asked_for(taken)
        return lambda: tuple(copied().numpy())


def _asked_for(tensor: Tensor) -> Later[Tensor]:
    """Ask the stream that is current for a copy, and wait for it later."""
    buffer = pinned_like(tensor)
    buffer.copy_(tensor, non_blocking=True)
    # Blocking: a thread that waits sleeps instead of keeping a core busy.
    done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    done.record()

    def wait() -> Tensor:
        with device_errors():
            done.synchronize()
        return buffer

    return wait


def snapshots_of(device: torch.device) -> Snapshots:
    """Return what takes copies of tensors on a device."""
    return CudaSnapshots(device) if device.type == "cuda" else HostSnapshots()


def as_bytes(pictures: Tensor) -> Tensor:
    """Turn pictures, (batch, 3, height, width), into uint8 (batch, height, width, 3) as `to_bytes` does on the host."""
    levels = (pictures.detach().float() * 255 + 0.5).floor().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def pinned_like(tensor: Tensor) -> Tensor:
    """Return memory of the host that a device can copy into while the host does something else."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)

"""Lanes that are ascents: gradient ascent on pictures with torch."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.engine.device import device_errors
from phosphene_server.engine.library import ModelLibrary
from phosphene_server.maximization.ascent import Ascent, step
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.pictures.encoding import to_bytes
from phosphene_server.values.maximization import MaximizationWarning, StopReason
from phosphene_server.values.work import MaximizationJob


class AscentLanes:
    """The pictures of one ascent, read into the memory of the host. Implements `Lanes`."""

    def __init__(self, ascent: Ascent, *, release: Callable[[], None]) -> None:
        self.ascent = ascent
        self.release = release

    @property
    def group_key(self) -> Hashable:
        """Ascents with equal keys may be stepped in one batch."""
        return self.ascent.group_key

    @property
    def step(self) -> int:
        """The number of steps done."""
        return self.ascent.step

    def objective(self) -> tuple[float, ...]:
        """The objective of each picture at the last step."""
        with device_errors():
            return _numbers(self.ascent.objective)

    def plain_objective(self) -> tuple[float, ...]:
        """The objective of each picture, untransformed."""
        with device_errors():
            return _numbers(self.ascent.plain_objective())

    def pixels(self) -> tuple[NDArray[np.uint8], ...]:
        """The pictures, each uint8 (height, width, 3)."""
        return tuple(to_bytes(picture) for picture in self.arrays())

    def arrays(self) -> tuple[NDArray[np.float32], ...]:
        """The pictures, each float32 (3, height, width)."""
        with device_errors():
            return tuple(self.ascent.images().float().cpu().numpy())

    def history(self) -> NDArray[np.float64]:
        """The objective at each step, (step, picture)."""
        with device_errors():
            return self.ascent.history()

    def stop_reason(self) -> StopReason | None:
        """Why no further step is wanted; None while one is."""
        with device_errors():
            return self.ascent.stop_reason()

    def take_warnings(self) -> Sequence[MaximizationWarning]:
        """What came up since the last call."""
        return self.ascent.take_warnings()

    def state(self) -> bytes:
        """All that is needed to go on elsewhere."""
        with device_errors():
            return self.ascent.state()


class AscentMaximizer:
    """Makes ascents on the models of a library and steps them. Implements `Maximizer`."""

    def __init__(self, library: ModelLibrary[LoadedModel], device: torch.device) -> None:
        self._library = library
        self._device = device

    def begin(self, job: MaximizationJob, state: bytes | None) -> AscentLanes:
        """Hold the model of a job and set up its pictures.

        Raises:
            PhospheneError: the model cannot be used, or the request does not apply to it.
        """
        with device_errors():
            model = self._library.hold(job.source)
            release = partial(self._library.release, job.source)
            try:
                ascent = Ascent(model, job.request) if state is None else Ascent.restore(model, job.request, state)
            except BaseException:
                release()
                raise
        return AscentLanes(ascent, release=release)

    def step(self, lanes: Sequence[AscentLanes]) -> None:
        """Step ascents of one group key in one batch.

        Waits for a CUDA device, so that its errors meet the batch that caused them, so that a turn is charged with
        its own time, and so that no steps pile up that a cancellation would have to wait for.
        """
        with device_errors():
            step([lane.ascent for lane in lanes])
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)


def _numbers(tensor: Tensor) -> tuple[float, ...]:
    return tuple(tensor.tolist())

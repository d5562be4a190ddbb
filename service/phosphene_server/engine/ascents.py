"""Lanes that are ascents: gradient ascent on pictures with torch."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.engine.device import device_errors
from phosphene_server.engine.footprints import Footprint
from phosphene_server.engine.lanes import Later, Numbers
from phosphene_server.engine.library import ModelLibrary
from phosphene_server.engine.memory import meter_of
from phosphene_server.engine.snapshots import Pixels, Snapshots, snapshots_of
from phosphene_server.maximization.ascent import Ascent
from phosphene_server.maximization.capture import CudaCapture
from phosphene_server.maximization.stepping import CapturedSteps, Step, step
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values.maximization import MaximizationWarning, StopReason
from phosphene_server.values.work import MaximizationJob

COPIES_OF_STATE = 2
"""How often the parameters and moments of a lane are in memory: its own, and those of the batch that it is part of."""


class AscentLanes:
    """The pictures of one ascent, copied into the memory of the host. Implements `Lanes`."""

    def __init__(self, ascent: Ascent, snapshots: Snapshots, *, release: Callable[[], None]) -> None:
        self.ascent = ascent
        self.release = release
        self._snapshots = snapshots

    @property
    def group_key(self) -> Hashable:
        """Ascents with equal keys may be stepped in one batch."""
        return self.ascent.group_key

    @property
    def step(self) -> int:
        """The number of steps done."""
        return self.ascent.step

    def objective(self) -> Later[Numbers]:
        """The objective of each picture at the last step."""
        with device_errors():
            return self._numbers(self.ascent.objective)

    def plain_objective(self) -> Later[Numbers]:
        """The objective of each picture, untransformed."""
        with device_errors():
            return self._numbers(self.ascent.plain_objective())

    def pixels(self) -> Later[Pixels]:
        """The pictures, each uint8 (height, width, 3)."""
        with device_errors():
            return self._snapshots.pixels(self.ascent.images())

    def arrays(self) -> Later[tuple[NDArray[np.float32], ...]]:
        """The pictures, each float32 (3, height, width)."""
        with device_errors():
            copied = self._snapshots.copy(self.ascent.images().float())
        return lambda: tuple(copied().numpy())

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
        with device_errors():
            return self.ascent.take_warnings()

    def state(self) -> bytes:
        """All that is needed to go on elsewhere."""
        with device_errors():
            return self.ascent.state()

    def _numbers(self, tensor: Tensor) -> Later[Numbers]:
        copied = self._snapshots.copy(tensor)
        return lambda: tuple(copied().tolist())


def steps_on(device: torch.device, *, captured: bool) -> Step:
    """Return what moves ascents on a device; `captured`: as CUDA graphs where the device has them."""
    return CapturedSteps(CudaCapture()) if captured and device.type == "cuda" else step


class AscentMaximizer:
    """Makes ascents on the models of a library and steps them. Implements `Maximizer`."""

    def __init__(self, library: ModelLibrary[LoadedModel], device: torch.device, *, step: Step = step) -> None:
        """Take the models, where they are, and what moves ascents."""
        self._library = library
        self._step = step
        self._snapshots = snapshots_of(device)
        self._meter = meter_of(device)

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
        return AscentLanes(ascent, self._snapshots, release=release)

    def step(self, lanes: Sequence[AscentLanes]) -> None:
        """Ask for a step of ascents of one group key in one batch.

        Raises:
            Overloaded: they do not fit into memory together.
        """
        with device_errors():
            self._step([lane.ascent for lane in lanes])

    def measured_step(self, lanes: AscentLanes) -> Footprint:
        """Step one ascent alone and measure what each of its pictures takes.

        Raises:
            Overloaded: they do not fit into memory.
        """
        step = self._meter.peak_bytes(lambda: self.step([lanes]))
        pictures = lanes.ascent.pictures
        return Footprint(held=COPIES_OF_STATE * len(lanes.state()) // pictures, step=step // pictures)

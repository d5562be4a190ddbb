"""What the engine asks of the pictures that it optimizes."""

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from phosphene_server.engine.footprints import Footprint
from phosphene_server.values.image import EncodedImage, ImageEncoding, ImageFormat
from phosphene_server.values.maximization import MaximizationWarning, StopReason
from phosphene_server.values.work import MaximizationJob

Numbers = tuple[float, ...]
"""One number for each picture."""

Outcome = TypeVar("Outcome")

Later = Callable[[], Outcome]
"""Returns something as it was when it was asked for; called once, on any thread, and may wait for the device."""


class Lanes(Protocol):
    """The pictures of one job while they are optimized, one lane for each picture.

    What comes out is plain: numbers and arrays in the memory of the host, never tensors. The loop asks, and another
    thread waits for the answer, so that the loop never waits for the device. Any method, and any `Later`, may raise a
    PhospheneError, which ends the job, or `DeviceLost`, which ends the process.
    """

    @property
    def group_key(self) -> Hashable:
        """Lanes with equal keys may be stepped in one batch; a key never changes."""

    @property
    def step(self) -> int:
        """The number of steps done."""

    def objective(self) -> Later[Numbers]:
        """The objective of each picture at the last step, as the transformed picture reached it."""

    def plain_objective(self) -> Later[Numbers]:
        """The objective of each picture as it is, untransformed."""

    def pixels(self) -> Later[tuple[NDArray[np.uint8], ...]]:
        """The pictures as they are now, each uint8 (height, width, 3), RGB; the arrays never change afterwards."""

    def arrays(self) -> Later[tuple[NDArray[np.float32], ...]]:
        """The pictures as they are now, each float32 (3, height, width), RGB in [0, 1]."""

    def history(self) -> NDArray[np.float64]:
        """The objective at each step, float64 of shape (step, picture).

        Waits for the device: called on any thread, when no further step is made.
        """

    def stop_reason(self) -> StopReason | None:
        """Why no further step is wanted; None while one is. Does not wait for the device before the last step."""

    def take_warnings(self) -> Sequence[MaximizationWarning]:
        """What came up since the last call."""

    def state(self) -> bytes:
        """All that is needed to go on elsewhere as if nothing had happened. Waits for the device."""

    def release(self) -> None:
        """Let go of the model; called once, last, in the loop."""


LanesKind = TypeVar("LanesKind", bound=Lanes)


class Maximizer(Protocol[LanesKind]):
    """Makes lanes and steps them."""

    def begin(self, job: MaximizationJob, state: bytes | None) -> LanesKind:
        """Set up the pictures of a job, or those of an earlier `state()`; loads its model if need be.

        Raises:
            PhospheneError: the job cannot be run.
        """

    def step(self, lanes: Sequence[LanesKind]) -> None:
        """Step lanes of one group key once, in one batch. A failure may leave some of them a step ahead.

        Raises:
            Overloaded: so many do not fit into memory.
        """

    def measured_step(self, lanes: LanesKind) -> Footprint:
        """Step the lanes of one job once, alone, and return what each of them takes. No model may be loaded meanwhile.

        Raises:
            Overloaded: they do not fit into memory.
        """


class Encode(Protocol):
    """Compresses a picture; called on several threads."""

    def __call__(self, picture: NDArray[np.uint8], encoding: ImageEncoding, *, default: ImageFormat) -> EncodedImage:
        """Compress uint8 (height, width, 3) as `encoding` says, in the format `default` where it names none."""

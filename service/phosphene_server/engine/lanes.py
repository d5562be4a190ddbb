"""What the engine asks of the pictures that it optimizes."""

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from phosphene_server.values.image import EncodedImage, ImageEncoding, ImageFormat
from phosphene_server.values.maximization import MaximizationWarning, StopReason
from phosphene_server.values.work import MaximizationJob


class Lanes(Protocol):
    """The pictures of one job while they are optimized, one lane for each picture.

    What comes out is plain: numbers and arrays in the memory of the host, never tensors. Any method may raise a
    PhospheneError, which ends the job, or `DeviceLost`, which ends the process.
    """

    @property
    def group_key(self) -> Hashable:
        """Lanes with equal keys may be stepped in one batch."""

    @property
    def step(self) -> int:
        """The number of steps done."""

    def objective(self) -> tuple[float, ...]:
        """The objective of each picture at the last step, as the transformed picture reached it."""

    def plain_objective(self) -> tuple[float, ...]:
        """The objective of each picture as it is, untransformed."""

    def pixels(self) -> tuple[NDArray[np.uint8], ...]:
        """The pictures as they are now, each uint8 (height, width, 3), RGB; the arrays never change afterwards."""

    def arrays(self) -> tuple[NDArray[np.float32], ...]:
        """The pictures as they are now, each float32 (3, height, width), RGB in [0, 1]."""

    def history(self) -> NDArray[np.float64]:
        """The objective at each step, float64 of shape (step, picture)."""

    def stop_reason(self) -> StopReason | None:
        """Why no further step is wanted; None while one is."""

    def take_warnings(self) -> Sequence[MaximizationWarning]:
        """What came up since the last call."""

    def state(self) -> bytes:
        """All that is needed to go on elsewhere as if nothing had happened."""

    def release(self) -> None:
        """Let go of the model; called once, last."""


LanesKind = TypeVar("LanesKind", bound=Lanes)


class Maximizer(Protocol[LanesKind]):
    """Makes lanes and steps them."""

    def begin(self, job: MaximizationJob, state: bytes | None) -> LanesKind:
        """Load the job's model if needed and set up its pictures, or those of an earlier `state()`.

        Raises:
            PhospheneError: the job cannot be run.
        """

    def step(self, lanes: Sequence[LanesKind]) -> None:
        """Step lanes of one group key once, in one batch. A failure may leave some of them a step ahead."""


class Encode(Protocol):
    """Compresses a picture; called on several threads."""

    def __call__(self, picture: NDArray[np.uint8], encoding: ImageEncoding, *, default: ImageFormat) -> EncodedImage:
        """Compress uint8 (height, width, 3) as `encoding` says, in the format `default` where it names none."""

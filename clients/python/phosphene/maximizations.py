"""Maximizations: the settings, the events and the result of a job."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phosphene.models import ModelReference
from phosphene.objectives import Objective
from phosphene.optimizers import Optimizer
from phosphene.parameterizations import Parameterization
from phosphene.penalties import Penalty
from phosphene.pictures import decode, encode_png, grid
from phosphene.stop_rules import StopRule
from phosphene.transforms import Transform

FrameFormat = Literal["png", "jpeg", "webp"]
StopReason = Literal["steps", "target", "plateau", "cancelled"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class MaximizationSettings:
    """Everything that can be chosen; None is left to the server.

    The fields have the names of the arguments of `Client.maximize`, so `client.maximize(**vars(run.settings))` runs the
    same job again and, on the same machine, gives the same bytes.
    """

    model: ModelReference
    objective: Objective
    steps: int | None = None
    size: tuple[int, int] | None = None
    pictures: int | None = None
    seed: int | None = None
    parameterization: Parameterization | None = None
    transforms: tuple[Transform, ...] | None = None
    penalties: tuple[Penalty, ...] = ()
    optimizer: Optimizer | None = None
    stop_rules: tuple[StopRule, ...] = ()
    frame_every: int | None = None
    frame_interval: float | None = None
    frame_format: FrameFormat | None = None
    frame_quality: int | None = None
    tensors: bool | None = None
    linger: float | None = None
    fixed_inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict, compare=False)
    """What the inputs of the model that are no picture get, by name."""
    priority: int | None = None
    precision: Precision | None = None


class _Pictures:
    """What frames and results share: encoded pictures that are decoded when they are looked at."""

    encoded: tuple[bytes, ...]

    @cached_property
    def pictures(self) -> tuple[Image.Image, ...]:
        """The pictures of the job, in the order of their index."""
        return tuple(decode(data) for data in self.encoded)

    @property
    def image(self) -> Image.Image:
        """The first picture; the only one, unless several were asked for."""
        return self.pictures[0]

    def _repr_png_(self) -> bytes:
        return encode_png(grid(self.pictures))


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a job is; about four times a second."""

    step: int
    steps: int
    objective: NDArray[np.float64]
    """(batch,): of the transformed pictures, before penalties."""
    steps_per_second: float
    """Lately; 0 while the job waits."""
    remaining_seconds: float | None
    """At this speed; None while it is not known."""
    queue_position: int
    """The place of the job in the queue, 1 for the next; 0 when it runs."""


@dataclass(frozen=True, eq=False)
class Frame(_Pictures):
    """An intermediate picture of each of the pictures of a job."""

    step: int
    objective: NDArray[np.float64]
    """(batch,): of the transformed pictures, before penalties."""
    dropped: int
    """How many frames this watcher has lost so far because it was slow."""
    encoded: tuple[bytes, ...] = field(repr=False)
    """The bytes of the picture files."""

    @property
    def images(self) -> tuple[Image.Image, ...]:
        """All pictures of the job, in the order of their index."""
        return self.pictures


@dataclass(frozen=True)
class MaximizationWarning:
    """Something that the caller should know; the job goes on."""

    step: int
    reason: str
    """For programs, in capitals, for example `NO_GRADIENT`."""
    message: str
    """For people."""


@dataclass(frozen=True, eq=False)
class Result(_Pictures):
    """What a maximization found."""

    step: int
    """The number of steps done."""
    stop_reason: StopReason
    objective: NDArray[np.float64]
    """(batch,): of each final picture, seen as it is, untransformed."""
    history: NDArray[np.float64]
    """(step, batch): as the transformed pictures reached it, before penalties."""
    duration_seconds: float
    """Without waiting."""
    encoded: tuple[bytes, ...] = field(repr=False)
    """The bytes of the picture files."""
    tensors: NDArray[np.float32] | None = field(default=None, repr=False)
    """(batch, channel, height, width), RGB in [0, 1]; None unless asked for."""

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """The pictures, (batch, height, width, 3), 0 to 255."""
        return np.stack([np.asarray(picture.convert("RGB")) for picture in self.pictures])


Event = Progress | Frame | MaximizationWarning | Result

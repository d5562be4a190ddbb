"""Maximizations of layers: the settings, the events and the result of a job that draws a picture of each channel."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from numpy.typing import NDArray
from PIL import Image

from phosphene.maximizations import FrameFormat, Precision, StopReason
from phosphene.models import ModelReference
from phosphene.optimizers import Optimizer
from phosphene.parameterizations import Parameterization
from phosphene.penalties import Penalty
from phosphene.pictures import decode, encode_png
from phosphene.stop_rules import StopRule
from phosphene.transforms import Transform

LayerTarget = Literal["channel", "neuron"]
PictureFormat = FrameFormat


@dataclass(frozen=True)
class LayerSettings:
    """Everything that can be chosen; None is left to the server.

    The fields have the names of the arguments of `Client.maximize_layer`, so
    `client.maximize_layer(**vars(run.settings))` runs the same job again.
    """

    model: ModelReference
    layer: str
    channels: tuple[int, ...] = ()
    target: LayerTarget | None = None
    steps: int | None = None
    size: tuple[int, int] | None = None
    seed: int | None = None
    parameterization: Parameterization | None = None
    transforms: tuple[Transform, ...] | None = None
    penalties: tuple[Penalty, ...] = ()
    optimizer: Optimizer | None = None
    stop_rules: tuple[StopRule, ...] = ()
    picture_format: PictureFormat | None = None
    picture_quality: int | None = None
    frame_every: int | None = None
    frame_interval: float | None = None
    frame_format: FrameFormat | None = None
    frame_quality: int | None = None
    sheet_columns: int | None = None
    sheet_tile: int | None = None
    sheet_format: PictureFormat | None = None
    sheet_quality: int | None = None
    linger: float | None = None
    fixed_inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict, compare=False)
    """What the inputs of the model that are no picture get, by name."""
    priority: int | None = None
    precision: Precision | None = None


class _Picture:
    """An encoded picture that is decoded when it is looked at."""

    encoded: bytes

    @cached_property
    def image(self) -> Image.Image:
        """The picture."""
        return decode(self.encoded)

    def _repr_png_(self) -> bytes:
        return encode_png(self.image)


@dataclass(frozen=True)
class LayerProgress:
    """How far a job is, all its pictures together; about four times a second."""

    finished: int
    """The number of pictures that are finished."""
    failed: int
    """The number of channels that failed."""
    pictures: int
    """The number of pictures asked for."""
    step: int
    """The number of steps done, of all pictures."""
    steps: int
    """The number of steps to do, of all pictures."""
    pictures_per_minute: float
    """Lately; 0 while the job waits."""
    remaining_seconds: float | None
    """At this speed; None while it is not known."""
    queue_position: int = 0
    """The place of its first picture in the queue, 1 for the next; 0 once one has begun."""


@dataclass(frozen=True, eq=False)
class LayerPicture(_Picture):
    """The finished picture of a channel."""

    channel: int
    index: int
    """Counts the pictures of the job in the order in which they were finished, from 0."""
    objective: float
    """Of the picture, seen as it is, untransformed."""
    step: int
    """The number of steps done."""
    stop_reason: StopReason
    encoded: bytes = field(repr=False)
    """The bytes of the picture file."""


@dataclass(frozen=True)
class LayerFailure:
    """A channel that gets no picture; the others go on."""

    channel: int
    reason: str
    """For programs, in capitals, for example `OVERLOADED`."""
    message: str
    """For people."""


@dataclass(frozen=True, eq=False)
class LayerFrame(_Picture):
    """An intermediate picture of one channel."""

    channel: int
    step: int
    objective: float
    """Of the transformed picture, before penalties."""
    dropped: int
    """How many frames, of all channels, this watcher has lost so far because it was slow."""
    encoded: bytes = field(repr=False)
    """The bytes of the picture file."""


@dataclass(frozen=True)
class LayerWarning:
    """Something that the caller should know of the picture of a channel."""

    channel: int
    step: int
    reason: str
    """For programs, in capitals, for example `NO_GRADIENT`."""
    message: str
    """For people."""


@dataclass(frozen=True, eq=False)
class ContactSheet(_Picture):
    """Finished pictures in rows, each above the number of its channel."""

    channels: tuple[int, ...]
    """The channels on it, row by row."""
    columns: int
    tile: tuple[int, int]
    """(height, width) of each picture on it."""
    reduced: bool
    """Whether the pictures are smaller on it than was asked for, because it would have been too large."""
    encoded: bytes = field(repr=False)
    """The bytes of the picture file."""


@dataclass(frozen=True, eq=False)
class LayerResult:
    """What the maximization of a layer found."""

    pictures: Mapping[int, LayerPicture] = field(repr=False)
    """The finished pictures by their channel, in the order of the request."""
    failures: Mapping[int, LayerFailure]
    """The channels that have none."""
    cancelled: bool
    """Whether it was cancelled before all pictures were finished."""
    sheet: ContactSheet | None
    """The finished pictures on one sheet; None when there are none."""
    duration_seconds: float
    """From the first step to the last picture."""

    def _repr_png_(self) -> bytes | None:
        return None if self.sheet is None else self.sheet._repr_png_()


LayerEvent = LayerProgress | LayerPicture | LayerFailure | LayerFrame | LayerWarning | LayerResult

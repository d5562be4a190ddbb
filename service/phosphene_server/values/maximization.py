"""Activation maximization: the request with all its choices, and the events of a job.

Objectives are maximised; each is one number per picture; reductions over space are means.

A rule about several fields stands in `__post_init__` and raises `ValueError(field, expected, got)`; `rpc/violations.py`
makes an InvalidArgument of it.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from numpy.typing import NDArray
from pydantic import Field

from phosphene_server.values.image import EncodedImage, ImageEncoding, ImageSize
from phosphene_server.values.model import ModelReference, Name, NamedTensor

Finite = Field(allow_inf_nan=False)
Index = Annotated[int, Ge(0)]

DEEPEST_SUM = 4
"""The most weighted sums that lie within one another."""

LARGEST_FIXED_INPUTS = 2**24
"""The most bytes of all `fixed_inputs` together: a request comes back in `accepted`, beside other things."""


# Objectives


@dataclass(frozen=True)
class ChannelObjective:
    """The mean of a channel over all its positions."""

    layer: Name
    channel: Index = 0
    kind: Literal["channel"] = "channel"


@dataclass(frozen=True)
class NeuronObjective:
    """The activation at one position; row and column None: the centre, size // 2."""

    layer: Name
    channel: Index = 0
    row: Index | None = None
    column: Index | None = None
    kind: Literal["neuron"] = "neuron"


@dataclass(frozen=True)
class LayerObjective:
    """The mean of the squares of all activations of a layer, as in DeepDream."""

    layer: Name
    kind: Literal["layer"] = "layer"


@dataclass(frozen=True)
class ClassLogitObjective:
    """The logit of a class, by index or by label; exactly one of the two."""

    index: Index | None = None
    label: Name | None = None
    kind: Literal["class_logit"] = "class_logit"

    def __post_init__(self) -> None:
        if (self.index is None) == (self.label is None):
            got = "nothing" if self.index is None else "both"
            raise ValueError("", "exactly one of 'index' and 'label'", got)


@dataclass(frozen=True)
class WeightedSumObjective:
    """A weighted sum of objectives, at most four levels deep."""

    terms: Annotated[tuple["WeightedObjective", ...], MinLen(1), MaxLen(64)]
    kind: Literal["weighted_sum"] = "weighted_sum"

    def __post_init__(self) -> None:
        if self.depth > DEEPEST_SUM:
            raise ValueError("", f"sums at most {DEEPEST_SUM} levels deep", f"{self.depth} levels")

    @property
    def depth(self) -> int:
        """The number of sums that lie within one another, with this one."""
        inner = [term.objective.depth for term in self.terms if isinstance(term.objective, WeightedSumObjective)]
        return 1 + max(inner, default=0)


Objective = Annotated[
    ChannelObjective | NeuronObjective | LayerObjective | ClassLogitObjective | WeightedSumObjective,
    Field(discriminator="kind"),
]


@dataclass(frozen=True)
class WeightedObjective:
    """One term of a weighted sum."""

    objective: Objective
    weight: Annotated[float, Finite] = 1.0


# Parameterizations


@dataclass(frozen=True)
class FourierParameterization:
    """The picture as the inverse Fourier transform of a spectrum scaled by 1 / frequency ** decay."""

    standard_deviation: Annotated[float, Ge(0), Le(10)] = 0.01
    decay: Annotated[float, Ge(0), Le(3)] = 1.5
    decorrelate_colors: bool = True
    kind: Literal["fourier"] = "fourier"


@dataclass(frozen=True)
class PixelParameterization:
    """The picture as its pixels."""

    standard_deviation: Annotated[float, Ge(0), Le(10)] = 0.01
    decorrelate_colors: bool = True
    kind: Literal["pixels"] = "pixels"


Parameterization = Annotated[FourierParameterization | PixelParameterization, Field(discriminator="kind")]


# Transforms


@dataclass(frozen=True)
class JitterTransform:
    """A shift drawn evenly from [-limit, limit] along each axis; the limit is in pixels or a share of the side."""

    pixels: Annotated[float, Ge(0), Le(4096)] | None = None
    fraction: Annotated[float, Ge(0), Le(1)] | None = None
    kind: Literal["jitter"] = "jitter"

    def __post_init__(self) -> None:
        if (self.pixels is None) == (self.fraction is None):
            got = "nothing" if self.pixels is None else "both"
            raise ValueError("", "exactly one of 'pixels' and 'fraction'", got)


@dataclass(frozen=True)
class ScaleTransform:
    """Enlargement by a factor whose logarithm is drawn evenly from those of `minimum` and `maximum`."""

    minimum: Annotated[float, Ge(0.1), Le(10)] = 1.0
    maximum: Annotated[float, Ge(0.1), Le(10)] = 1.0
    kind: Literal["scale"] = "scale"

    def __post_init__(self) -> None:
        if self.maximum < self.minimum:
            raise ValueError("maximum", f"a number of at least 'minimum' ({self.minimum:g})", f"{self.maximum:g}")


@dataclass(frozen=True)
class RotateTransform:
    """Rotation about the centre by an angle drawn evenly from [-degrees, degrees]."""

    degrees: Annotated[float, Ge(0), Le(180)] = 0.0
    kind: Literal["rotate"] = "rotate"


@dataclass(frozen=True)
class NoiseTransform:
    """Normally distributed noise; 1 is the distance from black to white."""

    standard_deviation: Annotated[float, Ge(0), Le(1)] = 0.0
    kind: Literal["noise"] = "noise"


@dataclass(frozen=True)
class PadTransform:
    """A margin on each side, in pixels, and what stands beyond the border."""

    pixels: Annotated[int, Ge(0), Le(512)] = 0
    border: Literal["reflect", "gray"] = "reflect"
    kind: Literal["pad"] = "pad"


@dataclass(frozen=True)
class ResizeTransform:
    """The size at which the network sees the picture, margins included; drawn with the other maps, in one sampling."""

    size: ImageSize
    kind: Literal["resize"] = "resize"


Transform = Annotated[
    JitterTransform | ScaleTransform | RotateTransform | NoiseTransform | PadTransform | ResizeTransform,
    Field(discriminator="kind"),
]


@dataclass(frozen=True)
class Transforms:
    """The random changes of each step, in the order in which they are applied."""

    items: Annotated[tuple[Transform, ...], MaxLen(32)] = ()


# Chosen by measurement, see docs/feature-visualization.md: what the network sees is a random crop, as in its training.
DEFAULT_TRANSFORMS = Transforms(
    (
        ScaleTransform(minimum=0.6, maximum=1.6),
        RotateTransform(degrees=20),
        JitterTransform(fraction=0.2),
        NoiseTransform(standard_deviation=0.03),
    )
)


# Penalties


@dataclass(frozen=True)
class TotalVariationPenalty:
    """The mean absolute difference between pixels that are neighbours along the height or the width."""

    kind: Literal["total_variation"] = "total_variation"


@dataclass(frozen=True)
class L1Penalty:
    """The mean absolute distance of the pixels from middle gray."""

    kind: Literal["l1"] = "l1"


@dataclass(frozen=True)
class L2Penalty:
    """The mean squared distance of the pixels from middle gray."""

    kind: Literal["l2"] = "l2"


Penalty = Annotated[TotalVariationPenalty | L1Penalty | L2Penalty, Field(discriminator="kind")]


@dataclass(frozen=True)
class WeightedPenalty:
    """A penalty and the weight with which it is subtracted from the objective."""

    penalty: Penalty
    weight: Annotated[float, Ge(0), Finite] = 0.0


# Optimizers and stop rules


@dataclass(frozen=True)
class AdamOptimizer:
    """Adam (Kingma and Ba 2015)."""

    learning_rate: Annotated[float, Gt(0), Le(10)] = 0.05
    beta1: Annotated[float, Ge(0), Lt(1)] = 0.9
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999
    kind: Literal["adam"] = "adam"


Optimizer = AdamOptimizer  # becomes an annotated union, like the others, when it has a second case


@dataclass(frozen=True)
class TargetStopRule:
    """Stops when the objective of every picture is at least a value."""

    objective: Annotated[float, Finite] = 0.0
    kind: Literal["target"] = "target"


@dataclass(frozen=True)
class PlateauStopRule:
    """Stops when the mean objective of the last `window` steps is not above that of the `window` steps before."""

    window: Annotated[int, Ge(4), Le(10000)] = 32
    tolerance: Annotated[float, Ge(0), Le(1)] = 0.001
    kind: Literal["plateau"] = "plateau"


StopRule = Annotated[TargetStopRule | PlateauStopRule, Field(discriminator="kind")]


Precision = Literal["float32", "bfloat16"]
"""How exactly the network is computed; the pictures and the optimizer always stay in float32."""


# The request


@dataclass(frozen=True)
class FrameOptions:
    """Which intermediate pictures are streamed: every so many steps (0: none), or one in so many seconds."""

    every_steps: Annotated[int, Ge(0), Le(100_000)] | None = None
    interval: Annotated[float, Ge(0.001), Le(3600)] | None = None
    encoding: ImageEncoding = field(default_factory=ImageEncoding)

    def __post_init__(self) -> None:
        if self.every_steps is not None and self.interval is not None:
            raise ValueError("", "at most one of 'every_steps' and 'interval'", "both")


@dataclass(frozen=True)
class ResultOptions:
    """What the result contains."""

    encoding: ImageEncoding = field(default_factory=ImageEncoding)
    tensors: bool = False


@dataclass(frozen=True)
class MaximizeActivationRequest:
    """Asks for a maximization. `size` None: the model's own; `seed` None: the service chooses one."""

    model: ModelReference
    objective: Objective
    steps: Annotated[int, Ge(1), Le(100_000)] = 256
    size: ImageSize | None = None
    pictures: Annotated[int, Ge(1), Le(64)] = 1
    seed: Annotated[int, Ge(0), Lt(2**64)] | None = None
    parameterization: Parameterization = field(default_factory=FourierParameterization)
    transforms: Transforms = DEFAULT_TRANSFORMS
    penalties: Annotated[tuple[WeightedPenalty, ...], MaxLen(16)] = ()
    optimizer: Optimizer = field(default_factory=AdamOptimizer)
    stop_rules: Annotated[tuple[StopRule, ...], MaxLen(8)] = ()
    frames: FrameOptions = FrameOptions(every_steps=16)
    result: ResultOptions = field(default_factory=ResultOptions)
    linger: Annotated[float, Ge(0), Le(86_400)] = 0.0
    fixed_inputs: Annotated[tuple[NamedTensor, ...], MaxLen(64)] = ()
    priority: Annotated[int, Ge(1), Le(1000)] = 1
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        _check_fixed_inputs(self.fixed_inputs)


def _check_fixed_inputs(fixed_inputs: tuple[NamedTensor, ...]) -> None:
    size = sum(item.value.nbytes for item in fixed_inputs)
    if size > LARGEST_FIXED_INPUTS:
        raise ValueError("fixed_inputs", f"at most {LARGEST_FIXED_INPUTS:,} bytes together", f"{size:,} bytes")


# The request for a layer

LayerTarget = Literal["channel", "neuron"]
"""What is maximized of each channel: its mean, or the neuron at its centre."""


@dataclass(frozen=True)
class ContactSheetOptions:
    """How the contact sheet is laid out; None: ceil(sqrt(N)) columns, tiles of the pictures' own size, at most 128."""

    columns: Annotated[int, Ge(1), Le(4096)] | None = None
    tile_size: Annotated[int, Ge(8), Le(1024)] | None = None
    encoding: ImageEncoding = field(default_factory=ImageEncoding)


@dataclass(frozen=True)
class MaximizeLayerRequest:
    """Asks for a picture of each of many channels of a layer; `channels` empty: all of them.

    The fields that `MaximizeActivationRequest` has, too, mean the same for each picture; a test compares them.
    """

    model: ModelReference
    layer: Name
    steps: Annotated[int, Ge(1), Le(100_000)] = 256
    size: ImageSize | None = None
    channels: Annotated[tuple[Index, ...], MaxLen(16_384)] = ()
    seed: Annotated[int, Ge(0), Lt(2**64)] | None = None
    parameterization: Parameterization = field(default_factory=FourierParameterization)
    transforms: Transforms = DEFAULT_TRANSFORMS
    penalties: Annotated[tuple[WeightedPenalty, ...], MaxLen(16)] = ()
    optimizer: Optimizer = field(default_factory=AdamOptimizer)
    stop_rules: Annotated[tuple[StopRule, ...], MaxLen(8)] = ()
    frames: FrameOptions = FrameOptions(every_steps=0)
    encoding: ImageEncoding = field(default_factory=ImageEncoding)
    linger: Annotated[float, Ge(0), Le(86_400)] = 0.0
    fixed_inputs: Annotated[tuple[NamedTensor, ...], MaxLen(64)] = ()
    priority: Annotated[int, Ge(1), Le(1000)] = 1
    precision: Precision = "float32"
    target: LayerTarget = "channel"
    sheet: ContactSheetOptions = field(default_factory=ContactSheetOptions)

    def __post_init__(self) -> None:
        _check_fixed_inputs(self.fixed_inputs)


# Events


@dataclass(frozen=True)
class MaximizationAccepted:
    """The job was accepted; `settings` has every default filled in."""

    maximization_id: str
    settings: MaximizeActivationRequest
    queue_position: int = 0
    kind: Literal["accepted"] = "accepted"


@dataclass(frozen=True)
class MaximizationProgress:
    """How far a job is; the objective of each picture is that of the transformed picture, before penalties."""

    step: int
    steps: int
    objective: tuple[float, ...] = ()
    steps_per_second: float = 0.0
    remaining: float | None = None
    queue_position: int = 0
    kind: Literal["progress"] = "progress"


@dataclass(frozen=True)
class MaximizationFrame:
    """An intermediate picture of each picture of a job."""

    step: int
    images: tuple[EncodedImage, ...]
    objective: tuple[float, ...]
    dropped: int = 0
    kind: Literal["frame"] = "frame"


@dataclass(frozen=True)
class MaximizationWarning:
    """Something that the caller should know; the job goes on."""

    step: int
    reason: str
    message: str
    kind: Literal["warning"] = "warning"


StopReason = Literal["steps", "target", "plateau", "cancelled"]


@dataclass(frozen=True)
class MaximizationResult:
    """What a maximization found; `history` is float64 (step, picture), `duration` in seconds."""

    step: int
    stop_reason: StopReason
    images: tuple[EncodedImage, ...]
    tensors: tuple[NDArray[np.float32], ...]
    objective: tuple[float, ...]
    history: NDArray[np.float64]
    duration: float
    kind: Literal["result"] = "result"


MaximizationEvent = (
    MaximizationAccepted | MaximizationProgress | MaximizationFrame | MaximizationWarning | MaximizationResult
)


# Events of a layer


@dataclass(frozen=True)
class LayerAccepted:
    """The job was accepted; `settings` has every default filled in, `channels` among them."""

    maximization_id: str
    settings: MaximizeLayerRequest
    pictures: int
    kind: Literal["accepted"] = "accepted"


@dataclass(frozen=True)
class LayerProgress:
    """How far a layer is, all its pictures together; `remaining` in seconds."""

    finished: int
    failed: int
    pictures: int
    step: int
    steps: int
    pictures_per_minute: float = 0.0
    remaining: float | None = None
    queue_position: int = 0
    kind: Literal["progress"] = "progress"


@dataclass(frozen=True)
class LayerPicture:
    """The finished picture of a channel; `index` counts them in the order in which they were finished."""

    index: int
    channel: int
    image: EncodedImage
    objective: float
    step: int
    stop_reason: StopReason
    kind: Literal["picture"] = "picture"


@dataclass(frozen=True)
class LayerFailure:
    """A channel that gets no picture."""

    channel: int
    reason: str
    message: str
    kind: Literal["failure"] = "failure"


@dataclass(frozen=True)
class LayerFrame:
    """An intermediate picture of one channel."""

    channel: int
    step: int
    image: EncodedImage
    objective: float
    dropped: int = 0
    kind: Literal["frame"] = "frame"


@dataclass(frozen=True)
class LayerWarning:
    """Something that the caller should know of the picture of a channel."""

    channel: int
    step: int
    reason: str
    message: str
    kind: Literal["warning"] = "warning"


@dataclass(frozen=True)
class ContactSheet:
    """Finished pictures on one sheet, row by row; `reduced`: they are smaller than was asked for."""

    image: EncodedImage
    channels: tuple[int, ...]
    columns: int
    tile: ImageSize
    reduced: bool


@dataclass(frozen=True)
class LayerResult:
    """The end of a layer; `duration` in seconds."""

    finished: int
    failed_channels: tuple[int, ...]
    cancelled: bool
    sheet: ContactSheet | None
    duration: float
    kind: Literal["result"] = "result"


LayerEvent = LayerAccepted | LayerProgress | LayerPicture | LayerFailure | LayerFrame | LayerWarning | LayerResult


# The job by its id


MaximizationState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Identifier = Annotated[str, MinLen(1), MaxLen(64)]


@dataclass(frozen=True)
class Maximization:
    """A job, with the settings and progress of its kind; `create_time` in seconds since 1970."""

    maximization_id: str
    state: MaximizationState
    settings: MaximizeActivationRequest | None
    progress: MaximizationProgress | None
    create_time: float
    error: str = ""
    layer_settings: MaximizeLayerRequest | None = None
    layer_progress: LayerProgress | None = None


@dataclass(frozen=True)
class GetMaximizationRequest:
    """Asks for a maximization."""

    maximization_id: Identifier


@dataclass(frozen=True)
class GetMaximizationResponse:
    """A maximization."""

    maximization: Maximization


@dataclass(frozen=True)
class ListMaximizationsRequest:
    """Asks for a page of the list of maximizations."""

    page_size: Annotated[int, Ge(1), Le(1000)] = 100
    page_token: str = ""


@dataclass(frozen=True)
class ListMaximizationsResponse:
    """A page of the list of maximizations, the newest first."""

    maximizations: tuple[Maximization, ...]
    next_page_token: str = ""


@dataclass(frozen=True)
class CancelMaximizationRequest:
    """Asks to end a maximization before its next step."""

    maximization_id: Identifier


@dataclass(frozen=True)
class CancelMaximizationResponse:
    """Whether it had not ended before."""

    cancelled: bool


@dataclass(frozen=True)
class WatchMaximizationRequest:
    """Asks for the events of a maximization; `from_step` None: only new frames."""

    maximization_id: Identifier
    from_step: Annotated[int, Ge(0)] | None = None


@dataclass(frozen=True)
class WatchLayerRequest:
    """Asks for the events of a layer; pictures before `from_picture` are known already."""

    maximization_id: Identifier
    from_picture: Annotated[int, Ge(0)] = 0

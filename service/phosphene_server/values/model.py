"""Models: how a request names one, and what is told about it."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le, MaxLen, MinLen
from numpy.typing import NDArray
from pydantic import ConfigDict

from phosphene_server.values.image import ARRAYS, ImageSize

ModelFormat = Literal["onnx", "torchscript", "torch_export"]
ChannelOrder = Literal["rgb", "bgr", "gray"]
PictureLayout = Literal["nchw", "nhwc"]
BatchHandling = Literal["any", "split"]

Name = Annotated[str, MinLen(1), MaxLen(256)]
"""The name of a model, layer or class."""


@dataclass(frozen=True)
class ModelReference:
    """Names a model. `version` None: the newest; `format` None: the first of ONNX, torch.export and TorchScript."""

    name: Name
    version: Annotated[str, MinLen(1), MaxLen(256)] | None = None
    format: ModelFormat | None = None


@dataclass(frozen=True)
class ListModelsRequest:
    """Asks for a page of the list of models."""

    page_size: Annotated[int, Ge(1), Le(1000)] = 100
    page_token: str = ""


@dataclass(frozen=True)
class ModelSummary:
    """One line of the list of models."""

    name: str
    version: str
    formats: tuple[ModelFormat, ...]
    description: str
    loaded: bool


@dataclass(frozen=True)
class ListModelsResponse:
    """A page of the list of models."""

    models: tuple[ModelSummary, ...]
    next_page_token: str = ""


@dataclass(frozen=True)
class TensorSpecification:
    """The name, numpy type name and shape of an input or output; -1 where any length is accepted."""

    name: str
    data_type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class NamedTensor:
    """A value for the input of a model that has that name; equal to one of the same name, type, shape and numbers."""

    __pydantic_config__: ClassVar[ConfigDict] = ARRAYS

    name: Name
    value: NDArray[np.generic]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NamedTensor):
            return NotImplemented
        same_kind = (self.name, self.value.dtype) == (other.name, other.value.dtype)
        return same_kind and np.array_equal(self.value, other.value)

    def __hash__(self) -> int:
        return hash((self.name, self.value.shape, self.value.tobytes()))


@dataclass(frozen=True)
class Preprocessing:
    """How a picture, RGB in [0, 1], becomes the input of a model.

    Its channels are ordered, it is stretched so that black is `low` and white `high`, `mean` is subtracted and the
    result divided by `std`; both have one number per channel, in the model's channel order. Last, its axes are laid out
    as (batch, channel, height, width) or (batch, height, width, channel).
    """

    channel_order: ChannelOrder
    low: float
    high: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: ImageSize
    fixed_size: bool
    layout: PictureLayout = "nchw"


@dataclass(frozen=True)
class PixelGrid:
    """Where the positions of a layer lie: distances and the place of position (0, 0), in pixels of the input."""

    row_stride: float
    column_stride: float
    row_offset: float
    column_offset: float


@dataclass(frozen=True)
class ReceptiveField:
    """The part of the input that one position of a layer sees, in pixels; as large as the input for the whole of it."""

    height: int
    width: int
    whole_picture: bool = False
    grid: PixelGrid | None = None


@dataclass(frozen=True)
class Layer:
    """A named activation, as GetModel shows it. Shapes have no batch axis; `filter_shape` is empty without filters."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameter_count: int
    filter_shape: tuple[int, ...] = ()
    receptive_field: ReceptiveField | None = None
    multiply_accumulates: int = 0
    gradient_reaches_input: bool = False


@dataclass(frozen=True)
class Parity:
    """The agreement of the differentiable graph with the runtime that the format belongs to, on the same input."""

    runtime: str
    largest_deviation: float
    output_scale: float
    input_shape: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """All that is known of one model."""

    reference: ModelReference
    description: str
    sha256: str
    size_bytes: int
    producer: str
    inputs: tuple[TensorSpecification, ...]
    outputs: tuple[TensorSpecification, ...]
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    logits_layer: str
    parameter_count: int
    layers: tuple[Layer, ...]
    parity: Parity | None
    load_seconds: float
    parity_note: str = ""
    batch_handling: BatchHandling = "any"
    fixed_batch_size: int = 0
    picture_input: str = ""
    required_inputs: tuple[str, ...] = ()
    multiply_accumulates: int = 0


@dataclass(frozen=True)
class GetModelRequest:
    """Asks for the description of a model."""

    model: ModelReference


@dataclass(frozen=True)
class GetModelResponse:
    """The description of a model."""

    model: Model


@dataclass(frozen=True)
class LoadModelRequest:
    """Asks to load a model."""

    model: ModelReference


@dataclass(frozen=True)
class LoadModelResponse:
    """The model that was loaded."""

    model: Model


@dataclass(frozen=True)
class UnloadModelRequest:
    """Asks to unload a model."""

    model: ModelReference


@dataclass(frozen=True)
class UnloadModelResponse:
    """Whether the model was loaded before."""

    unloaded: bool

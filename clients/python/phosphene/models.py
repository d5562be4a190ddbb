"""What the service tells about its models."""

import html
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from phosphene.errors import NotFound

ModelFormat = Literal["onnx", "torchscript", "torch_export"]
ChannelOrder = Literal["rgb", "bgr", "gray"]
PictureLayout = Literal["nchw", "nhwc"]
BatchHandling = Literal["any", "split"]


@dataclass(frozen=True)
class ModelReference:
    """Names a model of the repository; wherever a model is asked for, its name alone will do."""

    name: str
    version: str | None = None
    """None: the newest."""
    format: ModelFormat | None = None
    """None: the first that exists of ONNX, torch.export and TorchScript."""


@dataclass(frozen=True)
class ModelSummary:
    """One line of the list of models."""

    name: str
    version: str
    formats: tuple[ModelFormat, ...]
    """The format used by default first."""
    description: str
    loaded: bool


@dataclass(frozen=True)
class TensorSpecification:
    """The name, type and shape of an input or output."""

    name: str
    data_type: str
    """As numpy names it, for example `float32`."""
    shape: tuple[int, ...]
    """The length of each axis; -1 where any length is accepted."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture, RGB in [0, 1], becomes the input of a model."""

    channel_order: ChannelOrder
    low: float
    """The value of black before the mean is subtracted."""
    high: float
    """The value of white before the mean is subtracted."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
    """(height, width) in pixels at which the model was trained; the default size of pictures."""
    fixed_size: bool
    """Whether the model takes pictures of that size alone; others are resized to it."""
    layout: PictureLayout = "nchw"
    """(batch, channel, height, width) or (batch, height, width, channel)."""


@dataclass(frozen=True)
class PixelGrid:
    """Where the positions of a layer lie: (row, column) looks at the pixel `offset + (row, column) * stride`."""

    stride: tuple[float, float]
    """(rows, columns) of the input between neighbours; fractions behind upsampling."""
    offset: tuple[float, float]
    """(row, column) that position (0, 0) looks at, the middle of its field; may lie outside of the picture."""

    def pixel(self, row: int, column: int) -> tuple[float, float]:
        """Return the (row, column) of the input that a position looks at."""
        return self.offset[0] + row * self.stride[0], self.offset[1] + column * self.stride[1]


@dataclass(frozen=True)
class ReceptiveField:
    """The part of the model's input that one position of a layer sees, in pixels.

    It is the theoretical field on an endless picture: at the border, or where it is larger than the picture, a part of
    it is padding.
    """

    height: int
    width: int
    whole_picture: bool
    """Whether every position sees the whole picture whatever its size; the field has the size of the input then."""
    grid: PixelGrid | None
    """None where the layer has no rows and columns of positions."""

    def __str__(self) -> str:
        """Write `51x51 /8`: height, width, and the pixels between neighbours; `/8x4` where those differ."""
        size = "whole" if self.whole_picture else f"{self.height}x{self.width}"
        if self.grid is None:
            return size
        rows, columns = self.grid.stride
        return f"{size} /{rows:g}" if rows == columns else f"{size} /{rows:g}x{columns:g}"


@dataclass(frozen=True)
class Layer:
    """A named activation."""

    name: str
    kind: str
    """What computes it, for example `convolution`, `relu`, or `module` for a named group."""
    shape: tuple[int, ...]
    """For one picture of the model's own size: (channel, height, width) or (feature,)."""
    parameter_count: int
    filter_shape: tuple[int, ...]
    """(filter, channel, spatial...); empty where the layer has no filters."""
    receptive_field: ReceptiveField | None = None
    """None where it is not known, and where the layer does not depend on the picture."""
    multiply_accumulates: int = 0
    """For one picture of the model's own size: of convolutions, products of matrices and attention, with all inside."""
    gradient_reaches_input: bool = True
    """False where rounding, a comparison or the like cuts the gradient off: such a layer cannot be maximized."""


@dataclass(frozen=True)
class Parity:
    """The agreement of the differentiable graph with the runtime that the format belongs to."""

    runtime: str
    largest_deviation: float
    output_scale: float
    """The largest absolute output of that runtime, to judge the deviation by."""
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
    """The names of the classes, by index."""
    logits_layer: str
    """The layer that holds the class logits; empty where the model is no classifier."""
    parameter_count: int
    layers: tuple[Layer, ...]
    """In the order in which they are computed."""
    parity: Parity | None
    """None where it could not be measured; `parity_note` says why."""
    load_seconds: float
    parity_note: str = ""
    batch_handling: BatchHandling = "any"
    """`split`: the file fixes a batch, and the server evaluates that many pictures at a time."""
    fixed_batch_size: int = 0
    """That many; 0 where the model takes any number at once."""
    picture_input: str = ""
    """The name of the input that is the picture; empty where the model reads none."""
    required_inputs: tuple[str, ...] = ()
    """The names of the other inputs that `maximize(fixed_inputs=...)` has to give."""
    multiply_accumulates: int = 0
    """That the outputs take for one picture of the model's own size."""

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.reference.name

    def layer(self, name: str) -> Layer:
        """Return the layer of that name.

        Raises:
            NotFound: there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise NotFound(f"model {self.name!r} has no layer {name!r}", name=name, field="layer")

    def _repr_html_(self) -> str:
        rows = (
            (
                layer.name,
                layer.kind,
                _times(layer.shape),
                str(layer.receptive_field or ""),
                f"{layer.parameter_count:,}",
            )
            for layer in self.layers
        )
        title = f"<b>{html.escape(self.name)}</b> {html.escape(self.description)}"
        return f"<p>{title}</p>{_table(('layer', 'kind', 'shape', 'sees', 'parameters'), rows)}"


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"

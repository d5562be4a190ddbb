"""What the service tells about its models."""

import html
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from phosphene.errors import NotFound

ModelFormat = Literal["onnx", "torchscript", "torch_export"]
ChannelOrder = Literal["rgb", "bgr", "gray"]


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
    load_seconds: float

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
        rows = ((layer.name, layer.kind, _times(layer.shape), f"{layer.parameter_count:,}") for layer in self.layers)
        title = f"<b>{html.escape(self.name)}</b> {html.escape(self.description)}"
        return f"<p>{title}</p>{_table(('layer', 'kind', 'shape', 'parameters'), rows)}"


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    header = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"

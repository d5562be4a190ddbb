"""Applying kernels: the request and its responses."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from phosphene_server.values.image import ARRAYS, EncodedImage, Image, ImageEncoding
from phosphene_server.values.model import ModelReference, Name

KernelName = Literal[
    "laplacian",
    "sobel_x",
    "sobel_y",
    "prewitt_x",
    "prewitt_y",
    "scharr_x",
    "scharr_y",
    "gaussian",
    "box",
    "sharpen",
    "emboss",
    "identity",
]
PaddingMode = Literal["valid", "zeros", "reflect", "replicate", "circular"]
ChannelMode = Literal["gray", "per_channel"]


@dataclass(frozen=True)
class NamedKernel:
    """A kernel that is known by its name."""

    named: KernelName
    kind: Literal["named"] = "named"


@dataclass(frozen=True)
class CustomKernel:
    """The values themselves: (height, width) or (filter, channel, height, width), up to 127x127."""

    __pydantic_config__: ClassVar[ConfigDict] = ARRAYS

    values: NDArray[np.generic]
    kind: Literal["values"] = "values"


@dataclass(frozen=True)
class LayerKernel:
    """Kernels of a convolution that reads pictures; `filters` empty: all of them."""

    model: ModelReference
    layer: Name
    filters: tuple[Annotated[int, Ge(0)], ...] = ()
    bias: bool = True
    preprocess: bool = True
    kind: Literal["layer"] = "layer"


Kernel = NamedKernel | CustomKernel | LayerKernel


@dataclass(frozen=True)
class Extent:
    """A number of pixels for each of the two spatial axes."""

    rows: Annotated[int, Ge(1), Le(4096)]
    columns: Annotated[int, Ge(1), Le(4096)]


@dataclass(frozen=True)
class ResponseRendering:
    """How responses are turned into pictures. `scale` None: what 99.5 % of each response stay below."""

    encoding: ImageEncoding = field(default_factory=ImageEncoding)
    scale: Annotated[float, Gt(0), Field(allow_inf_nan=False)] | None = None
    overlay: bool = True
    overlay_opacity: Annotated[float, Ge(0), Le(1)] = 0.9


@dataclass(frozen=True)
class ApplyKernelRequest:
    """Asks to slide a kernel over images."""

    images: Annotated[tuple[Annotated[Image, Field(discriminator="kind")], ...], MinLen(1), MaxLen(64)]
    kernel: Annotated[Kernel, Field(discriminator="kind")]
    channels: ChannelMode = "gray"
    flip: bool = False
    stride: Extent = Extent(1, 1)
    dilation: Extent = Extent(1, 1)
    padding: PaddingMode = "reflect"
    rendering: ResponseRendering = field(default_factory=ResponseRendering)


@dataclass(frozen=True)
class KernelResponse:
    """The response of one image: float32 (channel, height, width), and as pictures whose full colour is `scale`."""

    values: NDArray[np.float32]
    picture: EncodedImage
    overlay: EncodedImage | None
    scale: float


@dataclass(frozen=True)
class ApplyKernelResponse:
    """One response for each image, and the kernels as applied, (filter, channel, height, width)."""

    responses: tuple[KernelResponse, ...]
    kernels: NDArray[np.float32]

"""Kernels, and what they answer on pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phosphene.models import ModelReference
from phosphene.pictures import decode, encode_png, grid

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
    "prewitt",  # prewitt_x
    "scharr",  # scharr_x
]
PaddingMode = Literal["valid", "zeros", "reflect", "replicate", "circular"]
ChannelMode = Literal["gray", "per_channel"]

Picture = Image.Image | NDArray[np.generic] | bytes | str | PathLike[str]
"""A picture as a caller may give it: Pillow, an array, the bytes of a PNG, JPEG or WebP file, or the path of one."""


@dataclass(frozen=True)
class LayerKernel:
    """Kernels taken from a convolution that reads pictures."""

    model: ModelReference
    layer: str
    filters: tuple[int, ...] = ()
    bias: bool | None = None
    preprocess: bool | None = None


def layer_kernel(
    model: str | ModelReference,
    layer: str,
    *,
    filters: Sequence[int] = (),
    bias: bool | None = None,
    preprocess: bool | None = None,
) -> LayerKernel:
    """Name the kernels of a model's layer, to be applied to pictures.

    Args:
        model: The model, or its name.
        layer: A two-dimensional convolution that reads as many channels as the picture has.
        filters: Indices of the filters, 0-based. Empty: all.
        bias: Add each filter's bias to its response. Default: True.
        preprocess: Turn the picture into the model's input first, so that the response is what the layer itself would
            compute. Default: True.
    """
    reference = model if isinstance(model, ModelReference) else ModelReference(model)
    return LayerKernel(reference, layer, tuple(filters), bias, preprocess)


Kernel = KernelName | NDArray[np.generic] | LayerKernel
"""A kernel: a name, values (height, width) or (filter, channel, height, width), or the filters of a layer."""


@dataclass(frozen=True, eq=False)
class KernelResponse:
    """The response of one image."""

    values: NDArray[np.float32]
    """(channel, height, width)."""
    scale: float
    """The absolute response that has the full colour in the pictures."""
    encoded_picture: bytes
    encoded_overlay: bytes | None

    @cached_property
    def picture(self) -> Image.Image:
        """The response: blue below zero, white at zero, red above."""
        return decode(self.encoded_picture)

    @cached_property
    def overlay(self) -> Image.Image | None:
        """The response laid over the input; None where it was not asked for."""
        return None if self.encoded_overlay is None else decode(self.encoded_overlay)

    def _repr_png_(self) -> bytes:
        return encode_png(self.picture)


@dataclass(frozen=True, eq=False)
class KernelResponses(Sequence[KernelResponse]):
    """The responses of all images, a sequence; with one image, its pictures are here too."""

    responses: tuple[KernelResponse, ...]
    kernels: NDArray[np.float32]
    """The kernels as they were applied, (filter, channel, height, width)."""

    def __len__(self) -> int:
        return len(self.responses)

    def __iter__(self) -> Iterator[KernelResponse]:
        return iter(self.responses)

    @overload
    def __getitem__(self, index: int) -> KernelResponse: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[KernelResponse, ...]: ...

    def __getitem__(self, index: int | slice) -> KernelResponse | tuple[KernelResponse, ...]:
        return self.responses[index]

    @property
    def values(self) -> NDArray[np.float32]:
        """The responses of all images, (batch, channel, height, width).

        Raises:
            ValueError: the images differ in size; take them one by one.
        """
        shapes = {response.values.shape for response in self.responses}
        if len(shapes) > 1:
            raise ValueError(f"the responses differ in shape, {sorted(shapes)}: take response[i].values one by one")
        return np.stack([response.values for response in self.responses])

    @property
    def picture(self) -> Image.Image:
        """The response of the only image, in colours."""
        return self._only.picture

    @property
    def overlay(self) -> Image.Image | None:
        """The response of the only image, laid over it."""
        return self._only.overlay

    @property
    def scale(self) -> float:
        """The absolute response of the only image that has the full colour."""
        return self._only.scale

    @property
    def _only(self) -> KernelResponse:
        if len(self.responses) != 1:
            raise ValueError(f"there are {len(self.responses)} images: take response[i], or iterate")
        return self.responses[0]

    def _repr_png_(self) -> bytes:
        return encode_png(grid([response.picture for response in self.responses]))

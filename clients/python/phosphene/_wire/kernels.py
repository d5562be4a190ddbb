"""Messages about kernels."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phosphene._wire.building import build, invalid
from phosphene._wire.enumerations import encode_word
from phosphene._wire.images import encode_images
from phosphene._wire.models import encode_reference
from phosphene._wire.tensors import decode_tensor, encode_tensor
from phosphene.kernels import (
    ChannelMode,
    Kernel,
    KernelResponse,
    KernelResponses,
    LayerKernel,
    PaddingMode,
    Picture,
)
from phosphene.v1 import kernel_pb2

_SHORT_NAMES = {"prewitt": "prewitt_x", "scharr": "scharr_x"}
"""Names without a direction, and what they stand for."""


def encode_kernel_request(
    images: Picture | Iterable[Picture],
    kernel: Kernel,
    *,
    channels: ChannelMode | None,
    flip: bool,
    stride: int | tuple[int, int] | None,
    dilation: int | tuple[int, int] | None,
    padding: PaddingMode | None,
    scale: float | None,
    overlay: bool | None,
    overlay_opacity: float | None,
) -> kernel_pb2.ApplyKernelRequest:
    """Ask to slide a kernel over images."""
    mode = encode_word(kernel_pb2.ChannelMode.DESCRIPTOR, channels, field="channels")
    border = encode_word(kernel_pb2.PaddingMode.DESCRIPTOR, padding, field="padding")
    rendering = build(
        kernel_pb2.ResponseRendering, "rendering", scale=scale, overlay=overlay, overlay_opacity=overlay_opacity
    )
    return build(
        kernel_pb2.ApplyKernelRequest,
        "",
        images=encode_images(images),
        kernel=_kernel(kernel),
        channels=mode,
        flip=flip,
        stride=_extent(stride, "stride"),
        dilation=_extent(dilation, "dilation"),
        padding=border,
        rendering=rendering,
    )


def decode_responses(message: kernel_pb2.ApplyKernelResponse) -> KernelResponses:
    """The responses of all images."""
    return KernelResponses(tuple(_response(item) for item in message.responses), decode_tensor(message.kernels))


def _kernel(kernel: Kernel) -> kernel_pb2.Kernel:
    if isinstance(kernel, LayerKernel):
        return kernel_pb2.Kernel(layer=_layer_kernel(kernel))
    if isinstance(kernel, str):
        number = encode_word(kernel_pb2.KernelName.DESCRIPTOR, _SHORT_NAMES.get(kernel, kernel), field="kernel.named")
        return build(kernel_pb2.Kernel, "kernel", named=number)
    return kernel_pb2.Kernel(values=encode_tensor(_numbers(kernel), field="kernel.values"))


def _numbers(kernel: object) -> NDArray[np.floating[Any]]:
    """The values of a kernel, also of a list of lists written by hand; whole numbers become float32."""
    try:
        values = np.asarray(kernel)
        return values if values.dtype.kind == "f" else values.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise invalid("kernel", expected="a name, a rectangle of numbers or a layer_kernel", value=kernel) from error


def _layer_kernel(kernel: LayerKernel) -> kernel_pb2.LayerKernel:
    return build(
        kernel_pb2.LayerKernel,
        "kernel.layer",
        model=encode_reference(kernel.model),
        layer=kernel.layer,
        filters=kernel.filters,
        bias=kernel.bias,
        preprocess=kernel.preprocess,
    )


def _extent(value: int | tuple[int, int] | None, field: str) -> kernel_pb2.Extent | None:
    """One number for both axes, or (rows, columns)."""
    if value is None:
        return None
    rows, columns = value if isinstance(value, tuple) else (value, value)
    return build(kernel_pb2.Extent, field, rows=rows, columns=columns)


def _response(message: kernel_pb2.KernelResponse) -> KernelResponse:
    return KernelResponse(
        values=decode_tensor(message.values),
        scale=message.scale,
        encoded_picture=message.picture.data,
        encoded_overlay=message.overlay.data if message.HasField("overlay") else None,
    )

"""Applying a kernel to pictures."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.errors import InvalidArgument, LayerUnusable
from phosphene_server.filters.correlation import Correlation
from phosphene_server.filters.rendering import render
from phosphene_server.filters.sliding import Sliding
from phosphene_server.filters.sources import KernelNumbers, kernel_numbers
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.models.preprocessing import LUMA, preprocess
from phosphene_server.pictures.decoding import decode
from phosphene_server.pictures.strips import strips
from phosphene_server.values.kernel import ApplyKernelRequest, ApplyKernelResponse, ChannelMode, KernelResponse
from phosphene_server.values.model import Preprocessing
from phosphene_server.values.work import BetweenSteps, at_once

RESPONSE_LIMIT = 48 * 2**20
"""The most responses as tensors, in bytes, of all images together: a gRPC message holds 64 MiB, with the pictures."""

MESSAGE_LIMIT = 62 * 2**20
"""The most responses and pictures together, in bytes, so that the rest of the message fits too."""


def apply_kernel(
    request: ApplyKernelRequest,
    model: LoadedModel | None,
    device: torch.device,
    *,
    between_steps: BetweenSteps = at_once,
) -> ApplyKernelResponse:
    """Slide a kernel over the images of a request.

    A layer's kernels are slid as the request says, not as the layer slides them: with the layer's own stride, dilation
    and padding in the request, the response is what the layer computes. See `Sliding` for where the responses lie.

    Args:
        request: What to do.
        model: The model of a layer's kernel; None for other kernels.
        device: Where to compute.
        between_steps: Does what needs the device, piece by piece of at most about 50 ms; pictures are decoded, drawn
            and compressed outside of it.

    Raises:
        InvalidArgument: an image cannot be read, the kernel does not fit it, or the responses do not fit in a message.
        NotFound: the model has no such layer.
        LayerUnusable: the layer is no two-dimensional convolution that reads pictures.
    """
    # To read weights disturbs no step on a CPU, and would cost a small picture the wait for a second one.
    reading = at_once if device.type == "cpu" else between_steps
    numbers = reading(partial(kernel_numbers, request.kernel, model))
    rows, columns = numbers.kernels.shape[2:]
    sliding = Sliding.of(request, (rows, columns))
    responses: list[KernelResponse] = []
    room = MESSAGE_LIMIT - numbers.kernels.numel() * 4
    room_for_values = RESPONSE_LIMIT
    # One image after the other: together, decoded, they may be far larger than their responses.
    for index, image in enumerate(request.images):
        field = f"images[{index}]"
        picture = decode(image, field=field)
        parts = parts_of(picture, numbers, request.channels, field=field)
        room_for_values -= _value_bytes(parts, numbers, sliding, field=field)
        _check_room(room_for_values, RESPONSE_LIMIT, field=field)
        values = respond(parts, numbers, sliding, device=device, between_steps=between_steps, field=field)
        responses.append(render(values, picture, sliding.placement, request.rendering))
        room -= _bytes(responses[-1])
        _check_room(room, MESSAGE_LIMIT, field=field)
    return ApplyKernelResponse(tuple(responses), numbers.kernels.float().numpy())


def parts_of(
    picture: NDArray[np.float32], numbers: KernelNumbers, channels: ChannelMode, *, field: str
) -> list[NDArray[np.float32]]:
    """Return what the kernels are slid over, one after the other.

    Args:
        picture: (channel, height, width).
        numbers: The kernels.
        channels: How kernels of two dimensions read colours.
        field: The path of the picture in the request.

    Returns:
        float32 (channel, height, width) each, of the same shape.

    Raises:
        InvalidArgument: the picture has other channels than the kernels read.
        LayerUnusable: the kernels read no pictures.
    """
    if not numbers.plane:
        return [_as_read(picture, numbers, field=field)]
    if channels == "per_channel":
        return [channel[np.newaxis] for channel in picture]
    return [_luma(picture, field=field)]


def _luma(picture: NDArray[np.float32], *, field: str) -> NDArray[np.float32]:
    if len(picture) == 1:
        return picture
    if len(picture) != 3:
        raise InvalidArgument(
            "channels", f"gray for {field}, of {len(picture)} channels", "per_channel, or an RGB image"
        )
    luma = np.empty((1, *picture.shape[1:]), np.float32)
    for rows in strips(*picture.shape[1:]):
        # Element by element and rounded to float32, so that equal pixels have equal luma and sums can be exact.
        red, green, blue = picture[:, rows].astype(np.float64)
        luma[0, rows] = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    return luma


def _as_read(picture: NDArray[np.float32], numbers: KernelNumbers, *, field: str) -> NDArray[np.float32]:
    """Return a picture as kernels of several channels read it."""
    wanted = numbers.kernels.shape[1]
    if numbers.preprocessing is not None:
        _check_reads_pictures(numbers, numbers.preprocessing, wanted)
        return _preprocessed(picture, numbers.preprocessing, field=field)
    if len(picture) != wanted:
        value = f"{wanted} channels for {field}, which has {len(picture)}"
        raise InvalidArgument(numbers.field, value, "kernels of as many channels as every image")
    return picture


def _preprocessed(picture: NDArray[np.float32], preprocessing: Preprocessing, *, field: str) -> NDArray[np.float32]:
    """Return the input of the model, at the size of the picture; gray counts as RGB of three equal channels."""
    if len(picture) not in (1, 3):
        raise InvalidArgument(field, f"{len(picture)} channels", "1 or 3, for the model's preprocessing")
    colors = torch.from_numpy(np.broadcast_to(picture, (3, *picture.shape[1:])).copy())[None]
    read: NDArray[np.float32] = preprocess(colors, replace(preprocessing, fixed_size=False, layout="nchw"))[0].numpy()
    return read


def _check_reads_pictures(numbers: KernelNumbers, preprocessing: Preprocessing, wanted: int) -> None:
    if wanted != len(preprocessing.mean):
        detail = f"reads {wanted} channels, the pictures of its model have {len(preprocessing.mean)}"
        raise LayerUnusable(numbers.layer, detail, numbers.field)


def _value_bytes(parts: list[NDArray[np.float32]], numbers: KernelNumbers, sliding: Sliding, *, field: str) -> int:
    height, width = sliding.response_size(*parts[0].shape[1:], field=field)
    return len(parts) * len(numbers.kernels) * height * width * 4


def respond(
    parts: list[NDArray[np.float32]],
    numbers: KernelNumbers,
    sliding: Sliding,
    *,
    device: torch.device,
    between_steps: BetweenSteps = at_once,
    field: str,
) -> NDArray[np.float32]:
    """Return the response of an image.

    Args:
        parts: What the kernels are slid over, as `parts_of` has it.
        numbers: The kernels.
        sliding: How they are slid.
        device: Where the arithmetic is done.
        between_steps: Does it, piece by piece.
        field: The path of the picture in the request.

    Returns:
        (channel, height, width), finite: one channel for each part and kernel.

    Raises:
        InvalidArgument: the kernel does not fit the picture, which is too small or too large, or a response is too
            large for float32.
    """
    size = parts[0].shape
    sliding.check_size(*size, field=field)
    height, width = sliding.response_size(*size[1:], field=field)
    correlation = sliding.correlation(numbers.kernels)
    response = np.empty((len(parts), len(numbers.kernels), height, width), np.float32)
    for values, part in zip(torch.from_numpy(response), parts, strict=True):
        for first, last in sliding.pieces(height, size[2], correlation):
            covered = sliding.under(torch.from_numpy(part), first, last)
            between_steps(partial(_respond, covered, correlation, numbers.bias, device, out=values[:, first:last]))
    if not np.isfinite(response).all():
        raise InvalidArgument(field, "values whose response exceeds float32", "smaller values or a smaller kernel")
    return response.reshape(-1, height, width)


def _respond(
    covered: Tensor, correlation: Correlation, bias: Tensor | None, device: torch.device, *, out: Tensor
) -> None:
    """Compute some rows of a response, (filter, row, column)."""
    response = correlation(covered.to(device))
    if bias is not None:
        response += bias.to(device)[:, None, None]
    out.copy_(response)


def _bytes(response: KernelResponse) -> int:
    overlay = len(response.overlay.data) if response.overlay is not None else 0
    return response.values.nbytes + len(response.picture.data) + overlay


def _check_room(room: int, limit: int, *, field: str) -> None:
    if room < 0:
        value = f"an image with which the response exceeds {limit:,} bytes"
        expected = (
            "fewer or smaller images, fewer filters, a larger stride, no overlay or a compact encoding such as webp"
        )
        raise InvalidArgument(field, value, expected)

"""A kernel of a request as numbers, and what must be done to pictures before it is slid over them."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.errors import InvalidArgument, LayerUnusable
from phosphene_server.filters.kernels import NAMED_KERNELS
from phosphene_server.filters.selection import choose
from phosphene_server.models.graph import filter_first
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values.kernel import CustomKernel, Kernel, LayerKernel, NamedKernel
from phosphene_server.values.model import Preprocessing

SIDE_LIMIT = 127
"""The longest side of a kernel that is written in a request, in taps."""


@dataclass(frozen=True, eq=False)
class KernelNumbers:
    """A kernel that is ready to be slid."""

    kernels: Tensor
    """float64 (filter, channel, height, width), in main memory; (1, 1, height, width) of a plane."""
    plane: bool = False
    """Whether it has two dimensions, and so is slid over the luma or over each channel alone."""
    bias: Tensor | None = None
    """float64 (filter), in main memory, added to the responses."""
    preprocessing: Preprocessing | None = None
    """How pictures become what the kernel reads; None: it reads them as they are."""
    field: str = "kernel"
    """The path of the kernel in the request."""
    layer: str = ""
    """The layer that it was taken from; empty for other kernels."""


def kernel_numbers(kernel: Kernel, model: LoadedModel | None) -> KernelNumbers:
    """Return the numbers of a kernel.

    Args:
        kernel: The kernel of a request.
        model: The model of a layer's kernel; None for others.

    Raises:
        InvalidArgument: the values are no kernel, or a filter's index is out of range.
        NotFound: the model has no such layer.
        LayerUnusable: the layer is no two-dimensional convolution.
    """
    if isinstance(kernel, NamedKernel):
        return _plane(NAMED_KERNELS[kernel.named])
    if isinstance(kernel, CustomKernel):
        return _written(kernel)
    assert model is not None, "the worker loads the model of a layer's kernel first"
    return _from_layer(kernel, model)


def _plane(values: NDArray[np.float64]) -> KernelNumbers:
    return KernelNumbers(torch.from_numpy(values)[None, None], plane=True)


def _written(kernel: CustomKernel) -> KernelNumbers:
    field, shape = "kernel.values", kernel.values.shape
    if len(shape) not in (2, 4) or 0 in shape or max(shape[-2:]) > SIDE_LIMIT:
        expected = f"shape (height, width) or (filter, channel, height, width) of 1 to {SIDE_LIMIT} rows and columns"
        raise InvalidArgument(field, f"shape {shape}", expected)
    values = kernel.values.astype(np.float64)
    # The response tells the kernel as float32, so it has to be one.
    if not (np.abs(values) <= np.finfo(np.float32).max).all():
        raise InvalidArgument(field, "values that are infinite or not a number", "finite float32 values")
    if values.ndim == 2:
        return replace(_plane(values), field=field)
    return KernelNumbers(torch.from_numpy(values), field=field)


def _from_layer(kernel: LayerKernel, model: LoadedModel) -> KernelNumbers:
    field = "kernel.layer.layer"
    geometry, weight, bias = model.graph.filters(kernel.layer, field=field)
    if geometry.transposed or weight.ndim != 4:
        raise LayerUnusable(kernel.layer, "is no two-dimensional convolution that can be slid over a picture", field)
    chosen = choose(kernel.filters, weight.shape[0], field="kernel.layer.filters", layer=kernel.layer)
    filters = _ungrouped(filter_first(geometry, weight), geometry.groups)[chosen]
    return KernelNumbers(
        filters.to("cpu", torch.float64),
        bias=bias[chosen].to("cpu", torch.float64) if kernel.bias and bias is not None else None,
        preprocessing=model.model.preprocessing if kernel.preprocess else None,
        field=field,
        layer=kernel.layer,
    )


def _ungrouped(weight: Tensor, groups: int) -> Tensor:
    """Give every filter all channels of the layer's input, with zeros in those that its group does not read."""
    filters, channels = weight.shape[:2]
    whole = weight.new_zeros((filters, groups, channels, *weight.shape[2:]))
    group_of_filter = torch.arange(filters, device=weight.device) // (filters // groups)
    whole[torch.arange(filters, device=weight.device), group_of_filter] = weight
    return whole.flatten(1, 2)

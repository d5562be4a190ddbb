"""The filters of a layer: their weights, numbers about them, and their figure."""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.errors import InvalidArgument
from phosphene_server.filters.color import reads_colors
from phosphene_server.filters.figure import draw_figure
from phosphene_server.filters.selection import choose
from phosphene_server.models.graph import FilterGeometry, filter_first
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values.filter import ExtractFiltersRequest, ExtractFiltersResponse, FilterFigure, FilterStatistics
from phosphene_server.values.work import BetweenSteps, at_once

WEIGHT_LIMIT = 48 * 2**20
"""The most weights in a response, in bytes: a gRPC message holds 64 MiB, and the figure comes with them."""

MESSAGE_LIMIT = 62 * 2**20
"""The most weights and figure together, in bytes, so that the rest of the message fits too."""

DEAD_SHARE = 1e-3
"""A filter is dead when its norm is below this share of the median norm of its layer."""


def extract_filters(
    model: LoadedModel, request: ExtractFiltersRequest, *, between_steps: BetweenSteps = at_once
) -> ExtractFiltersResponse:
    """Return the chosen filters of a layer, exactly as they are in the file.

    Args:
        model: The model.
        request: What to do.
        between_steps: Does what needs the device, which is to read the weights; they are drawn outside of it.

    Raises:
        NotFound: the model has no such layer.
        LayerUnusable: the layer has no filters.
        InvalidArgument: an index is out of range, or the weights do not fit into a message.
    """
    geometry, weight, bias = model.graph.filters(request.layer, field="layer")
    weights, biases = between_steps(partial(_read, geometry, weight, bias))
    chosen = choose(request.filters, len(weights), field="filters", layer=request.layer)
    _check_size(weights, len(chosen), layer=request.layer)
    figure = _figure(model, request, weights[chosen])
    return ExtractFiltersResponse(
        weights=weights[chosen],
        bias=biases[chosen] if biases is not None else None,
        filters=tuple(chosen),
        groups=geometry.groups,
        statistics=statistics(weights, chosen),
        figure=figure,
    )


def statistics(weights: NDArray[np.float32], chosen: list[int]) -> tuple[FilterStatistics, ...]:
    """Return numbers about the chosen filters of a layer.

    Args:
        weights: All filters of the layer, (filter, channel, spatial...).
        chosen: The indices of the filters that are wanted.
    """
    flat = weights.reshape(len(weights), -1)
    norms = np.sqrt(np.einsum("ij,ij->i", flat, flat, dtype=np.float64))
    # In a layer of which most is zero the median is zero as well, and a norm of zero is dead all the same.
    dead = (norms < DEAD_SHARE * np.median(norms)) | (norms == 0)
    return tuple(
        FilterStatistics(
            index=index,
            norm=float(norms[index]),
            minimum=float(flat[index].min()),
            maximum=float(flat[index].max()),
            mean=float(flat[index].mean(dtype=np.float64)),
            dead=bool(dead[index]),
        )
        for index in chosen
    )


def _read(
    geometry: FilterGeometry, weight: Tensor, bias: Tensor | None
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return the weights, filter first, and the biases of a layer in main memory."""
    return _numbers(filter_first(geometry, weight)), _numbers(bias) if bias is not None else None


def _numbers(tensor: Tensor) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = tensor.detach().float().cpu().contiguous().numpy()
    return numbers


def _check_size(weights: NDArray[np.float32], chosen: int, *, layer: str) -> None:
    each = weights.nbytes // len(weights)
    if chosen * each > WEIGHT_LIMIT:
        expected = f"at most {WEIGHT_LIMIT // each} filters of layer {layer!r} in one response, chosen by index"
        raise InvalidArgument("filters", f"{chosen} filters of {each:,} bytes each", expected)


def _figure(model: LoadedModel, request: ExtractFiltersRequest, weights: NDArray[np.float32]) -> FilterFigure:
    color = reads_colors(model.graph, request.layer, model.model.preprocessing.channel_order)
    if color and model.model.preprocessing.channel_order == "bgr":
        figure = draw_figure(request.layer, weights[:, ::-1], request.figure, color=True)
    else:
        figure = draw_figure(request.layer, weights, request.figure, color=color)
    if weights.nbytes + len(figure.image.data) > MESSAGE_LIMIT:
        value = f"a figure of {len(figure.image.data):,} bytes beside {weights.nbytes:,} bytes of weights"
        expected = f"fewer tiles or fewer filters, so that both fit into {MESSAGE_LIMIT:,} bytes"
        raise InvalidArgument("figure.tile_limit", value, expected)
    return figure

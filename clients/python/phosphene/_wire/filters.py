"""Messages about filters."""

from collections.abc import Sequence

from phosphene._wire.building import build
from phosphene._wire.enumerations import encode_word
from phosphene._wire.models import encode_reference
from phosphene._wire.tensors import decode_tensor
from phosphene.filters import FigureNormalization, FilterFigure, Filters, FilterStatistics
from phosphene.models import ModelReference
from phosphene.v1 import filter_pb2


def encode_filters_request(
    model: str | ModelReference,
    layer: str,
    *,
    filters: Sequence[int],
    normalization: FigureNormalization | None,
    enlargement: int | None,
    tile_limit: int | None,
) -> filter_pb2.ExtractFiltersRequest:
    """Ask for the filters of a layer."""
    number = encode_word(filter_pb2.FigureNormalization.DESCRIPTOR, normalization, field="figure.normalization")
    figure = build(
        filter_pb2.FigureOptions,
        "figure",
        normalization=number,
        enlargement=enlargement,
        tile_limit=tile_limit,
    )
    return build(
        filter_pb2.ExtractFiltersRequest,
        "",
        model=encode_reference(model),
        layer=layer,
        filters=filters,
        figure=figure,
    )


def decode_filters(message: filter_pb2.ExtractFiltersResponse) -> Filters:
    """The filters in a response."""
    return Filters(
        weights=decode_tensor(message.weights),
        bias=decode_tensor(message.bias) if message.HasField("bias") else None,
        indices=tuple(message.filters),
        groups=message.groups,
        statistics=tuple(_statistics(item) for item in message.statistics),
        details=_figure(message.figure),
    )


def _statistics(message: filter_pb2.FilterStatistics) -> FilterStatistics:
    return FilterStatistics(message.index, message.norm, message.minimum, message.maximum, message.mean, message.dead)


def _figure(message: filter_pb2.FilterFigure) -> FilterFigure:
    return FilterFigure(
        encoded=message.image.data,
        caption=message.caption,
        columns=message.columns,
        rows=message.rows,
        shown=message.shown,
        total=message.total,
        color=message.color,
        enlargement=message.enlargement,
        low=message.low if message.HasField("low") else None,
        high=message.high if message.HasField("high") else None,
    )

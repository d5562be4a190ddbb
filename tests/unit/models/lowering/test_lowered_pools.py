"""Rectifiers behind maximum pools."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import fx

from phosphene_server.models.builder import GraphBuilder
from tests.unit.models.lowering.small_graphs import (
    Write,
    answers,
    assert_equivalent,
    convolution,
    cut_of,
    in_float64,
    lowered,
    operations,
    pictures,
)


def pooled(*arguments: Any, **keywords: Any) -> Write:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        values = builder.call(F.relu, builder.call(torch.sub, source, 0.5))
        return {"pool": builder.call(F.max_pool2d, values, *arguments, **keywords)}

    return write


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [((2,), {}), ((3, 2), {"ceil_mode": True}), ((3, 1, 1), {}), (((3, 2), (2, 1), (1, 0), (2, 1)), {})],
)
def test_a_rectifier_behind_a_pool_changes_neither_values_nor_gradients(
    arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> None:
    cut, values = in_float64(cut_of(pooled(*arguments, **keywords))), pictures(2, 3, 11, 12).double()
    graph = lowered(cut)
    assert operations(graph)[-2:] == [F.max_pool2d.__name__, "Rectifier"]
    for one, other in zip(answers(cut, values), answers(graph, values), strict=True):
        assert torch.equal(one, other)


def read_twice(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
    values = builder.call(F.relu, source)
    return {"pool": builder.call(F.max_pool2d, values, 2), "sine": builder.call(torch.sin, values)}


def requested(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
    values = builder.call(F.relu, source)
    return {"relu": values, "pool": builder.call(F.max_pool2d, values, 2)}


def averaged(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
    return {"pool": builder.call(F.avg_pool2d, builder.call(F.relu, source), 2)}


@pytest.mark.parametrize("write", [read_twice, requested, averaged])
def test_a_rectifier_stays_before_a_pool_where_the_exchange_would_change_something(write: Write) -> None:
    graph = assert_equivalent(cut_of(write), pictures(2, 3, 8, 8))
    assert operations(graph)[0] == "Rectifier"


def test_a_pool_between_convolutions_computes_the_same() -> None:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        values = builder.call(F.relu, convolution(builder, source, 3, 8, 7, "first", stride=2, padding=3))
        values = builder.call(F.max_pool2d, values, 3, 2, ceil_mode=True)
        return {"last": builder.call(F.relu, convolution(builder, values, 8, 4, 3, "second"))}

    assert_equivalent(cut_of(write), pictures(2, 3, 33, 32))

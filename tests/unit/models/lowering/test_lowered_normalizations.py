"""Batch normalizations within convolutions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import fx

from phosphene_server.models.builder import GraphBuilder
from tests.unit.models.lowering.small_graphs import (
    Write,
    assert_equivalent,
    convolution,
    cut_of,
    drawn,
    in_float64,
    lowered,
    operations,
    pictures,
)


def normalized(builder: GraphBuilder, values: fx.Node, *, affine: bool = True, training: bool = False) -> fx.Node:
    mean, variance = builder.tensor("mean", drawn(5)), builder.tensor("variance", drawn(5).square() + 0.5)
    weight = builder.tensor("factor", drawn(5) + 2) if affine else None
    bias = builder.tensor("summand", drawn(5)) if affine else None
    if training:
        mean = variance = None  # type: ignore[assignment]
    return builder.call(F.batch_norm, values, mean, variance, weight, bias, training, 0.1, 1e-3)


def block(*, affine: bool = True, bias: bool = True) -> Write:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        values = convolution(builder, source, 3, 5, 3)
        if not bias:
            values.update_arg(2, None)
        return {"relu": builder.call(F.relu, normalized(builder, values, affine=affine))}

    return write


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_folded_normalization_computes_the_same(affine: bool, bias: bool) -> None:
    cut = in_float64(cut_of(block(affine=affine, bias=bias)))
    graph, values = lowered(cut), pictures(2, 3, 9, 9).double()
    assert operations(graph) == ["conv2d", "Rectifier"]
    torch.testing.assert_close(graph(values), cut(values), rtol=1e-12, atol=1e-12)


def test_a_folded_normalization_passes_the_same_gradient() -> None:
    graph = assert_equivalent(cut_of(block()), pictures(2, 3, 9, 9))
    assert "batch_norm" not in operations(graph)


@pytest.mark.parametrize(("function", "axes"), [(torch.conv1d, 1), (torch.conv3d, 3)])
def test_convolutions_of_other_axes_take_normalizations_in(function: Callable[..., Any], axes: int) -> None:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        weight = builder.tensor("w", drawn(5, 3, *[3] * axes))
        return {"layer": normalized(builder, builder.call(function, source, weight))}

    cut, values = in_float64(cut_of(write)), drawn(2, 3, *[6] * axes).double()
    graph = lowered(cut)
    assert operations(graph) == [f"conv{axes}d"]
    torch.testing.assert_close(graph(values), cut(values), rtol=1e-12, atol=1e-12)


def requested(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
    values = convolution(builder, source, 3, 5, 3)
    return {"convolution": values, "normalized": normalized(builder, values)}


def read_twice(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
    values = convolution(builder, source, 3, 5, 3)
    return {"sum": builder.call(torch.add, normalized(builder, values), values)}


def of_the_batch(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
    return {"normalized": normalized(builder, convolution(builder, source, 3, 5, 3), training=True)}


def computed(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
    weight = builder.call(torch.tanh, builder.tensor("w", drawn(5, 3, 3, 3)))
    return {"normalized": normalized(builder, builder.call(torch.conv2d, source, weight))}


@pytest.mark.parametrize("write", [requested, read_twice, of_the_batch, computed])
def test_a_normalization_stays_where_folding_would_change_something(write: Write) -> None:
    graph = assert_equivalent(cut_of(write), pictures(2, 3, 9, 9))
    assert "batch_norm" in operations(graph)

"""Convolutions of one value that become one."""

import pytest
import torch
import torch.nn.functional as F
from torch import fx

from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.lowering import kernels
from tests.unit.models.lowering.small_graphs import (
    Write,
    answers,
    assert_equivalent,
    convolution,
    cut_of,
    lowered,
    operations,
    pictures,
)

pytestmark = pytest.mark.skipif(not kernels.can_pack(torch.zeros(1, 1, 1, 1)), reason="this torch has no oneDNN")


def inception(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
    """Three branches that begin with one pixel, one of which goes on, and one behind a pool."""
    values = builder.call(F.relu, convolution(builder, source, 3, 8, 3, "stem"))
    one, two, three = (
        builder.call(F.relu, convolution(builder, values, 8, filters, 1, f"branch{filters}")) for filters in (4, 6, 5)
    )
    two = builder.call(F.relu, convolution(builder, two, 6, 7, 3, "wide", padding=1))
    pool = builder.call(F.max_pool2d, values, 3, 1, 1)
    four = builder.call(F.relu, convolution(builder, pool, 8, 3, 1, "behind"))
    return {"block": builder.call(torch.cat, [one, two, three, four], 1)}


def test_branches_that_begin_with_one_pixel_become_one() -> None:
    graph = assert_equivalent(cut_of(inception), pictures(2, 3, 12, 13))
    assert operations(graph).count("Siblings") == 1
    assert operations(graph).count("Convolution") == 3


def test_a_branch_that_nothing_asks_about_gets_no_gradient() -> None:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        return {
            f"{filters}": builder.call(F.relu, convolution(builder, source, 3, filters, 1, f"branch{filters}"))
            for filters in (4, 6)
        }

    cut, values = cut_of(write), pictures(2, 3, 8, 8)
    graph = lowered(cut)
    assert operations(graph)[0] == "Siblings"

    expected, result = (answers(lambda x, of=of: {"4": of(x)["4"]}, values)[-1] for of in (cut, graph))
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


def with_strides(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
    parts = [convolution(builder, source, 4, 4, 1, f"branch{index}", stride=2) for index in range(2)]
    return {"sum": builder.call(torch.add, *(builder.call(F.relu, part) for part in parts))}


def of_groups(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
    parts = [convolution(builder, source, 4, 4, 1, f"branch{index}", groups=2) for index in range(2)]
    return {"sum": builder.call(torch.add, *(builder.call(F.relu, part) for part in parts))}


def not_rectified(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
    parts = [convolution(builder, source, 4, 4, 1, f"branch{index}") for index in range(2)]
    return {"sum": builder.call(torch.mul, *parts)}


def requested(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
    parts = [convolution(builder, source, 4, 4, 1, f"branch{index}") for index in range(2)]
    return {"one": parts[0], "sum": builder.call(torch.add, *(builder.call(F.relu, part) for part in parts))}


@pytest.mark.parametrize("write", [with_strides, of_groups, not_rectified, requested])
def test_other_convolutions_of_one_value_stay_apart(write: Write) -> None:
    graph = assert_equivalent(cut_of(write), pictures(2, 4, 8, 8))
    assert "Siblings" not in operations(graph)

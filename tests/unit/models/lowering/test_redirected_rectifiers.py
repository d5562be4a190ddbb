"""Rectifiers that let a blocked gradient pass."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from phosphene_server.models.batching import Batching
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import CutGraph
from phosphene_server.models.lowering import rectifiers
from phosphene_server.models.lowering.rectifiers import Bounds
from tests.unit.models.lowering.small_graphs import Write, convolution, cut_of, drawn, in_float64, lowered, pictures
from tests.unit.models.lowering.test_lowered_siblings import inception


def of_function(function: Callable[..., Tensor], *arguments: float) -> CutGraph:
    """A graph of one rectifier."""
    return cut_of(lambda builder, source: {"relu": builder.call(function, source, *arguments)})


def gradient(cut: CutGraph, values: Tensor, wanted: Tensor, redirected: list[bool]) -> Tensor:
    inputs = values.clone().requires_grad_()
    output = lowered(cut)(inputs, redirected=torch.tensor(redirected))["relu"]
    (result,) = torch.autograd.grad(output, inputs, wanted)
    return result


def test_a_silent_picture_gets_the_gradient_that_lifts_it() -> None:
    values, wanted = torch.tensor([[-1.0, -2.0, -3.0]]), torch.tensor([[0.5, -0.5, 0.0]])
    assert gradient(of_function(torch.relu), values, wanted, [True]).tolist() == [[0.5, 0.0, 0.0]]


def test_a_picture_that_gets_any_gradient_keeps_the_true_one() -> None:
    values, wanted = torch.tensor([[-1.0, 2.0]]), torch.tensor([[0.5, 0.25]])
    assert gradient(of_function(torch.relu), values, wanted, [True]).tolist() == [[0.0, 0.25]]


def test_only_pictures_that_ask_for_it_are_redirected() -> None:
    values, wanted = torch.full((2, 3), -1.0), torch.ones(2, 3)
    result = gradient(of_function(torch.relu), values, wanted, [False, True])
    assert result.tolist() == [[0.0] * 3, [1.0] * 3]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (F.relu6, ()),
        (F.hardtanh, (0.0, 6.0)),
        (torch.clamp, (0.0, 6.0)),
        (torch.ops.aten.hardtanh.default, (0.0, 6.0)),
    ],
)
def test_a_rectifier_with_a_ceiling_is_also_redirected_down_from_it(
    function: Callable[..., Tensor], arguments: tuple[float, ...]
) -> None:
    values, wanted = torch.tensor([[-1.0, -1.0, 7.0, 7.0]]), torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    result = gradient(of_function(function, *arguments), values, wanted, [True])
    assert result.tolist() == [[1.0, 0.0, 0.0, -1.0]]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (torch.relu, ()),
        (F.relu, ()),
        (torch.ops.aten.relu.default, ()),
        (F.relu6, ()),
        (torch.ops.aten.relu6.default, ()),
        (F.hardtanh, ()),
        (F.hardtanh, (0.0, 6.0)),
        (torch.clamp, (0.0, 6.0)),
        (torch.clamp, (0.0,)),
        (torch.ops.aten.clamp.default, (None, 6.0)),
    ],
)
def test_a_picture_that_is_redirected_and_not_silent_gets_the_gradient_of_torch_also_at_the_bounds(
    function: Callable[..., Tensor], arguments: tuple[float | None, ...]
) -> None:
    values = torch.tensor([[-1.0, 0.0, 0.5, 1.0, 6.0, 7.0, -2.0, torch.nan]])
    wanted = torch.arange(1.0, 9.0)[None]
    plain = values.clone().requires_grad_()
    (expected,) = torch.autograd.grad(function(plain, *arguments), plain, wanted)
    assert torch.equal(gradient(of_function(function, *arguments), values, wanted, [True]), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_one_pixel_that_gets_a_gradient_keeps_a_picture_from_being_redirected(layout: torch.memory_format) -> None:
    values = torch.full((2, 3, 5, 6), -1.0).contiguous(memory_format=layout)
    values[1, 2, 4, 0] = 1.0
    result = gradient(of_function(torch.relu), values, torch.ones_like(values), [True, True])
    assert torch.equal(result[0], torch.ones(3, 5, 6))
    assert result[1].nonzero().tolist() == [[2, 4, 0]]


def test_a_single_number_of_each_picture_is_redirected_too() -> None:
    values, wanted = torch.tensor([-1.0, -1.0, 2.0]), torch.tensor([0.5, -0.5, 0.25])
    assert gradient(of_function(torch.relu), values, wanted, [True] * 3).tolist() == [0.5, 0.0, 0.25]


@pytest.mark.parametrize("bounds", [Bounds(0.0), Bounds(None, 1.0), Bounds(0.0, 1.0)])
def test_all_devices_redirect_alike(bounds: Bounds) -> None:
    values, wanted = drawn(6, 3, 4, 5), drawn(3, 6, 5, 4).transpose(0, 1).transpose(2, 3)
    flat = torch.zeros_like(values, dtype=torch.bool)
    values[:4] = values[:4].abs() * (-1 if bounds.low is not None else 1) + (0 if bounds.low is not None else 1)
    if bounds.low is not None:
        flat |= values <= bounds.low
    if bounds.high is not None:
        flat |= values >= bounds.high
    passed, redirected = wanted.masked_fill(flat, 0), torch.tensor([True, False] * 3)
    asking, unasking = passed.clone(), passed.clone()
    rectifiers._redirect_asking(asking, wanted, values, redirected, bounds)
    rectifiers._redirect_without_asking(unasking, wanted, values, redirected, bounds)
    assert torch.equal(asking, unasking)
    changed = (asking != passed).flatten(1).any(dim=1)
    assert changed.tolist() == [True, False, True, False, False, False]


def test_redirection_changes_no_values_and_no_gradient_that_passes() -> None:
    graph, values = lowered(cut_of(inception)), pictures(3, 3, 9, 9)
    mask = torch.tensor([False, True, True])
    assert torch.equal(graph(values)["block"], graph(values, redirected=mask)["block"])
    plain = redirected_gradient(lambda x, redirected: graph(x), values, mask)
    assert torch.equal(redirected_gradient(graph, values, mask), plain)


def test_a_rectifier_of_parts_of_pictures_keeps_the_true_gradient() -> None:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        return {"relu": builder.call(torch.relu, builder.call(torch.reshape, source, (-1, 2)))}

    values = torch.tensor([[-1.0, -1.0, 1.0, 1.0]])
    assert gradient(cut_of(write), values, torch.ones(2, 2), [True]).tolist() == [[0.0, 0.0, 1.0, 1.0]]


def test_a_convolution_of_parts_of_pictures_keeps_the_true_gradient() -> None:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        parts = builder.call(torch.reshape, source, (-1, 3, 4, 8))
        values = builder.call(F.relu, convolution(builder, builder.call(torch.sub, parts, 1e6), 3, 4, 1))
        return {"relu": builder.call(torch.reshape, values, (2, -1, 4, 8))}

    values, redirected = pictures(2, 3, 8, 8), torch.tensor([True, True])
    plain = redirected_gradient(lambda x, redirected: lowered(cut_of(write))(x), values, redirected)
    assert torch.equal(redirected_gradient(lowered(cut_of(write)), values, redirected), plain)


def silent(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
    """A convolution that is silent for most pictures, and for dark ones not."""
    values = convolution(builder, builder.call(torch.sub, source, 40.0), 3, 6, 3, padding=1)
    return {"relu": builder.call(F.relu, values)}


def redirected_gradient(evaluate: Callable[..., dict[str, Tensor]], values: Tensor, redirected: Tensor) -> Tensor:
    inputs = values.clone().requires_grad_()
    (output,) = evaluate(inputs, redirected=redirected).values()
    weights = torch.linspace(-3, 3, output[0].numel(), dtype=output.dtype).sin().reshape(output[0].shape)
    return torch.autograd.grad((output * weights).sum(), inputs)[0]


@pytest.mark.parametrize("write", [silent, inception])
def test_a_rectifier_within_a_convolution_is_redirected_as_one_behind_it(write: Write) -> None:
    cut = cut_of(write)
    values = pictures(4, 3, 9, 9)
    values[2:] *= 60  # some of these are not silent
    redirected = torch.tensor([False, True, False, True])
    exact = redirected_gradient(lowered(in_float64(cut)), values.double(), redirected)  # of rectifiers on their own
    result = redirected_gradient(lowered(cut), values, redirected)
    torch.testing.assert_close(result.double(), exact, rtol=1e-4, atol=1e-5)


def test_a_silent_picture_gets_through_a_convolution_only_when_it_is_redirected() -> None:
    values = pictures(2, 3, 9, 9)

    def never(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        values = convolution(builder, source, 3, 6, 1)
        return {"relu": builder.call(F.relu, builder.call(torch.sub, builder.call(F.relu, values), 1e6))}

    result = redirected_gradient(lowered(cut_of(never)), values, torch.tensor([False, True]))
    assert not result[0].any()
    assert result[1].any()


def test_pictures_that_are_evaluated_in_chunks_are_redirected_alike() -> None:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        values = convolution(builder, source, 3, 6, 3)
        return {"relu": builder.call(F.relu, builder.call(torch.sub, values, 1e6))}

    values, redirected = pictures(5, 3, 9, 9), torch.tensor([True, False, True, False, True])
    whole = redirected_gradient(lowered(cut_of(write)), values, redirected)
    chunks = redirected_gradient(lowered(cut_of(write, batching=Batching(size=2))), values, redirected)
    torch.testing.assert_close(chunks, whole, rtol=1e-5, atol=1e-6)
    assert whole.flatten(1).any(dim=1).tolist() == redirected.tolist()


def test_redirection_does_not_ask_what_is_in_the_mask() -> None:
    cut = cut_of(inception)
    values = torch.zeros(2, 3, 9, 9, device="meta", requires_grad=True)
    cut.module.to("meta")  # tensors without content: whatever looks at one fails
    output = lowered(cut)(values, redirected=torch.zeros(2, dtype=torch.bool, device="meta"))["block"]
    (result,) = torch.autograd.grad(output.sum(), values)
    assert result.shape == values.shape

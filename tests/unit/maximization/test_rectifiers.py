"""Rectifiers that let a blocked gradient pass."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.maximization.rectifiers import RedirectingGraph
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import CutGraph
from phosphene_server.models.loaded import LoadedModel


def rectified(function: Callable[..., Tensor], *arguments: float) -> CutGraph:
    """A graph of one rectifier."""
    builder = GraphBuilder()
    output = builder.call(function, builder.input("x"), *arguments)
    builder.layer("relu", "relu", output)
    return builder.build([output], input_specifications=[], output_specifications=[]).cut(["relu"])


def gradient(graph: CutGraph, values: Tensor, wanted: Tensor, redirected: list[bool]) -> Tensor:
    inputs = values.clone().requires_grad_()
    output = RedirectingGraph(graph, torch.tensor(redirected))(inputs)["relu"]
    (result,) = torch.autograd.grad(output, inputs, wanted)
    return result


def test_a_silent_picture_gets_the_gradient_that_lifts_it() -> None:
    values, wanted = torch.tensor([[-1.0, -2.0, -3.0]]), torch.tensor([[0.5, -0.5, 0.0]])
    assert gradient(rectified(torch.relu), values, wanted, [True]).tolist() == [[0.5, 0.0, 0.0]]


def test_a_picture_that_gets_any_gradient_keeps_the_true_one() -> None:
    values, wanted = torch.tensor([[-1.0, 2.0]]), torch.tensor([[0.5, 0.25]])
    assert gradient(rectified(torch.relu), values, wanted, [True]).tolist() == [[0.0, 0.25]]


def test_only_pictures_that_ask_for_it_are_redirected() -> None:
    values, wanted = torch.full((2, 3), -1.0), torch.ones(2, 3)
    result = gradient(rectified(torch.relu), values, wanted, [False, True])
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
    result = gradient(rectified(function, *arguments), values, wanted, [True])
    assert result.tolist() == [[1.0, 0.0, 0.0, -1.0]]


def test_a_rectifier_of_parts_of_pictures_keeps_the_true_gradient() -> None:
    builder = GraphBuilder()
    parts = builder.call(torch.reshape, builder.input("x"), (-1, 2))
    output = builder.call(torch.relu, parts)
    builder.layer("relu", "relu", output)
    graph = builder.build([output], input_specifications=[], output_specifications=[]).cut(["relu"])
    values = torch.tensor([[-1.0, -1.0, 1.0, 1.0]])
    assert gradient(graph, values, torch.ones(2, 2), [True]).tolist() == [[0.0, 0.0, 1.0, 1.0]]


def test_values_and_true_gradients_are_those_of_the_graph_itself(model: LoadedModel) -> None:
    inputs = torch.randn(3, 3, 16, 16, requires_grad=True)
    model_graph = model.graph.cut(["logits"])
    plain = model_graph(inputs)["logits"]
    redirecting = RedirectingGraph(model_graph, torch.tensor([False, True, False]))(inputs)["logits"]
    assert torch.equal(plain, redirecting)
    expected = torch.autograd.grad(plain[:, 0].sum(), inputs)[0]
    assert torch.equal(torch.autograd.grad(redirecting[:, 0].sum(), inputs)[0], expected)

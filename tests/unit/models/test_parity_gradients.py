"""The gradient check: right gradients pass it, and nothing else does."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.parity import check_gradient
from phosphene_server.values.model import TensorSpecification

PICTURE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    """A convolution and what the test puts behind it."""

    def __init__(self, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.last = last

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.last(self.convolution(x)),)


class Doubled(torch.autograd.Function):
    """Its value is its input, its gradient twice that."""

    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return 2 * gradient


def doubled(x: Tensor) -> Tensor:
    return Doubled.apply(x)


def graph_of(last: Callable[[Tensor], Tensor]) -> ModelGraph:
    torch.manual_seed(0)
    module = fx.symbolic_trace(Network(last))
    specification = [TensorSpecification("x", "float32", (-1, 3, 8, 8))]
    return ModelGraph(module, [], inputs=specification, outputs=specification)


@pytest.mark.parametrize("last", [torch.tanh, torch.relu, lambda x: torch.softmax(x, 1)])
def test_right_gradient_agrees_to_many_digits(last):
    check = check_gradient(graph_of(last), (PICTURE,))
    assert check.reaches_input
    assert check.relative_error < 1e-5


def test_derivative_is_that_of_the_closed_form():
    # The network is linear, so the difference over any step is the derivative itself.
    assert check_gradient(graph_of(lambda x: x * 3.0), (PICTURE,), directions=5).relative_error < 1e-6


def test_wrong_gradient_is_found():
    graph = graph_of(torch.tanh)
    (last,) = (node for node in graph.module.graph.nodes if node.target is torch.tanh)
    last.target = doubled
    graph.module.recompile()
    assert check_gradient(graph, (PICTURE,)).relative_error == pytest.approx(0.5, abs=1e-4)


def test_missing_gradient_is_found():
    assert not check_gradient(graph_of(torch.detach), (PICTURE,)).reaches_input


def test_steps_have_no_gradient():
    check = check_gradient(graph_of(lambda x: torch.round(100 * x)), (PICTURE,))
    assert not check.reaches_input


def test_graph_is_left_as_it_was():
    graph = graph_of(torch.tanh)
    check_gradient(graph, (PICTURE,))
    assert {parameter.dtype for parameter in graph.module.parameters()} == {torch.float32}

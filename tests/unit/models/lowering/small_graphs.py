"""Small graphs, and the comparison of a lowered graph with the cut graph that it was made of."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, fx

from phosphene_server.models.batching import Batching
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import CutGraph
from phosphene_server.models.lowering import LoweredGraph, lower
from phosphene_server.models.lowering.draft import Derivations

Write = Callable[[GraphBuilder, fx.Node], dict[str, fx.Node]]
"""Writes a graph of an input and returns its layers."""

Evaluate = Callable[[Tensor], dict[str, Tensor]]

SLACK = 4.0
"""How much larger the rounding of a lowered graph may be: it sums in another order, over longer or shorter chunks."""


def cut_of(write: Write, *, batching: Batching | None = None, layers: Sequence[str] | None = None) -> CutGraph:
    """The cut of a graph at all its layers, or at some."""
    builder = GraphBuilder()
    nodes = write(builder, builder.input("x"))
    for name, node in nodes.items():
        builder.layer(name, "operation", node)
    graph = builder.build(list(nodes.values()), input_specifications=[], output_specifications=[])
    if batching is not None:
        graph.set_batching(batching)
    return graph.cut(layers or list(nodes))


def lowered(cut: CutGraph) -> LoweredGraph:
    return lower(cut, "float32", Derivations())


def in_float64(cut: CutGraph) -> CutGraph:
    return CutGraph(copy.deepcopy(cut.module).double(), cut.layers, cut.batching)


def answers(evaluate: Evaluate, values: Tensor) -> list[Tensor]:
    """The layers, and the gradient of a fixed mixture of them."""
    inputs = values.clone(memory_format=torch.preserve_format).requires_grad_()
    outputs = evaluate(inputs)
    mixture = sum(
        (output * torch.linspace(-1, 1, output.numel(), dtype=output.dtype).cos().reshape(output.shape)).sum()
        for output in outputs.values()
    )
    assert isinstance(mixture, Tensor)
    return [*outputs.values(), *torch.autograd.grad(mixture, inputs)]


def assert_equivalent(cut: CutGraph, values: Tensor) -> LoweredGraph:
    """Compare both in float32 with the cut graph in float64: rounding is what may differ, and not much."""
    result = lowered(cut)
    exact = answers(in_float64(cut), values.double())
    for truth, plain, fast in zip(exact, answers(cut, values), answers(result, values), strict=True):
        assert fast.shape == plain.shape
        assert fast.dtype == plain.dtype
        floor = torch.finfo(torch.float32).eps * truth.norm()
        assert (fast - truth).norm() <= SLACK * (plain - truth).norm() + floor
    return result


def convolution(
    builder: GraphBuilder,
    source: fx.Node,
    channels: int,
    filters: int,
    kernel: int,
    name: str = "w",
    **settings: object,
) -> fx.Node:
    """A convolution with random filters, with a bias."""
    groups = settings.get("groups", 1)
    assert isinstance(groups, int)
    weight = builder.tensor(f"{name}.weight", drawn(filters, channels // groups, kernel, kernel) / kernel)
    return builder.call(torch.conv2d, source, weight, builder.tensor(f"{name}.bias", drawn(filters)), **settings)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def pictures(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=torch.channels_last)


def operations(graph: LoweredGraph) -> list[str]:
    """What a lowered graph consists of: the names of functions and of the classes of modules."""
    nodes = [node for node in graph.module.graph.nodes if node.op in ("call_function", "call_module")]
    return [
        type(graph.module.get_submodule(str(node.target))).__name__
        if node.op == "call_module"
        else getattr(node.target, "__name__", str(node.target))
        for node in nodes
    ]

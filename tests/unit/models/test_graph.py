import pytest
import torch
import torch.nn.functional as F

from phosphene_server.errors import LayerUnusable, NotFound
from phosphene_server.models import graph as graphs
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import FilterGeometry, ModelGraph
from phosphene_server.models.observation import observe
from phosphene_server.values.model import TensorSpecification

PICTURES = TensorSpecification("pictures", "float32", (-1, 3, -1, -1))


@pytest.fixture
def graph() -> ModelGraph:
    """conv1 -> relu1 -> dropout -> conv2, with rows for all but the dropout."""
    torch.manual_seed(0)
    builder = GraphBuilder()
    weight = builder.tensor("conv1.weight", torch.randn(4, 3, 3, 3))
    first = builder.call(F.conv2d, builder.input("x"), weight)
    relu = builder.call(F.relu, first)
    dropout = builder.call(F.dropout, relu, training=False)
    second = builder.call(F.conv2d, dropout, builder.tensor("conv2.weight", torch.randn(2, 4, 3, 3)))
    builder.layer("conv1", "convolution", first, filters=FilterGeometry("conv1.weight", None))
    builder.layer("relu1", "relu", relu)
    builder.layer("conv2", "convolution", second, filters=FilterGeometry("conv2.weight", None))
    return builder.build([second], input_specifications=[PICTURES], output_specifications=[PICTURES])


def test_a_cut_has_nothing_behind_its_deepest_layer(graph):
    cut = graph.cut(["conv1", "relu1"])
    nodes = list(cut.module.graph.nodes)
    assert [node.target for node in nodes if node.op == "get_attr"] == ["conv1.weight"]
    assert [node.target for node in nodes if node.op == "call_function"] == [F.conv2d, F.relu]


def test_a_cut_computes_what_the_whole_graph_computes(graph):
    pictures = torch.randn(3, 3, 9, 8)
    activations = graph.cut(["conv2", "relu1"])(pictures)
    assert activations.keys() == {"relu1", "conv2"}
    assert torch.equal(activations["conv2"], graph(pictures)[0])
    assert torch.equal(activations["relu1"], F.relu(F.conv2d(pictures, graph.tensor("conv1.weight"))))


def test_the_same_layers_give_the_same_cut(graph):
    assert graph.cut(["relu1", "conv1"]) is graph.cut({"conv1", "relu1"})


def test_only_the_cuts_that_were_used_last_are_kept(graph, monkeypatch):
    monkeypatch.setattr(graphs, "MAXIMUM_CUTS", 2)
    first, second = graph.cut(["conv1"]), graph.cut(["relu1"])
    assert graph.cut(["conv1"]) is first
    graph.cut(["conv2"])
    assert graph.cut(["conv1"]) is first
    assert graph.cut(["relu1"]) is not second


def test_a_cut_shares_the_parameters(graph):
    cut = graph.cut(["conv1"])
    assert cut.module.get_submodule("conv1").weight.data_ptr() == graph.tensor("conv1.weight").data_ptr()


def test_gradients_reach_the_input_through_a_cut(graph):
    pictures = torch.randn(1, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    graph.to(dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: graph.cut(["conv2"])(x)["conv2"], (pictures,))


def test_shapes_are_those_of_the_activations(graph):
    pictures = torch.zeros(2, 3, 9, 8)
    assert graph.layer_shapes(observe(graph, (pictures,)).shapes, batch=2) == {
        "conv1": (2, 4, 7, 6),
        "relu1": (2, 4, 7, 6),
        "conv2": (2, 2, 5, 4),
    }


def test_an_unknown_layer_is_told_with_the_nearest_names(graph):
    with pytest.raises(NotFound) as caught:
        graph.cut(["conv3"])
    assert set(caught.value.nearest) == {"conv1", "conv2"}


def test_a_layer_without_filters_names_layers_that_have_them(graph):
    with pytest.raises(LayerUnusable, match="conv1"):
        graph.filters("relu1")


def test_only_tensors_with_four_axes_are_laid_out_channels_last() -> None:
    builder = GraphBuilder()
    x = builder.input("x")
    weight = builder.tensor("weight", torch.randn(4, 3, 3, 3))
    table = builder.tensor("table", torch.randn(1, 2, 3, 4, 5))
    convolution = builder.call(torch.nn.functional.conv2d, x, weight)
    scaled = builder.call(torch.mul, convolution, builder.call(torch.sum, table))
    specification = TensorSpecification("x", "float32", (-1, 3, -1, -1))
    graph = builder.build([scaled], input_specifications=[specification], output_specifications=[])
    graph.to(memory_format=torch.channels_last)
    assert graph.tensor("weight").is_contiguous(memory_format=torch.channels_last)
    assert graph.tensor("table").is_contiguous()

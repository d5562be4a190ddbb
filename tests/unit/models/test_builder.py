import torch
import torch.nn.functional as F

from phosphene_server.models.builder import GraphBuilder
from phosphene_server.values.model import TensorSpecification

PICTURES = TensorSpecification("pictures", "float32", (-1, 2, -1, -1))


def normalized() -> GraphBuilder:
    builder = GraphBuilder()
    names = ("bn1.running_mean", "bn1.running_var", "bn1.weight", "bn1.bias")
    node = builder.call(F.batch_norm, builder.input("x"), *(builder.tensor(name, torch.ones(2)) for name in names))
    builder.layer("bn1", "batch_normalization", node, parameters=names)
    return builder


def test_running_statistics_are_not_counted_as_trained():
    builder = normalized()
    last = next(iter(reversed(builder.graph.nodes)))
    graph = builder.build([last], input_specifications=[PICTURES], output_specifications=[PICTURES])
    assert graph.layers["bn1"].parameters == ("bn1.weight", "bn1.bias")


def test_the_same_name_twice_is_the_same_tensor():
    builder = GraphBuilder()
    first, second = (builder.tensor("features.0.weight", torch.full((2,), value)) for value in (1.0, 2.0))
    assert first.target == second.target
    assert builder.root.get_submodule("features.0").weight.tolist() == [1.0, 1.0]


def test_layers_are_listed_in_the_order_in_which_they_are_computed():
    builder = GraphBuilder()
    early = builder.call(torch.relu, builder.input("x"))
    late = builder.call(torch.sigmoid, early)
    builder.layer("late", "sigmoid", late)
    builder.layer("early", "relu", early)
    graph = builder.build([late], input_specifications=[PICTURES], output_specifications=[PICTURES])
    assert list(graph.layers) == ["early", "late"]

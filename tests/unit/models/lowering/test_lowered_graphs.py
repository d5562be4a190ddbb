"""Lowered graphs as a whole: what they are asked for and what they keep."""

import copy
import gc
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import fx

from phosphene_server.errors import InvalidArgument, NotFound
from phosphene_server.models import lowering
from phosphene_server.models.batching import Batching
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import CutGraph, ModelGraph
from phosphene_server.models.importers.onnx import import_onnx
from phosphene_server.models.importers.torch_export import import_torch_export
from phosphene_server.models.lowering import Lowerings, lower
from phosphene_server.models.lowering.draft import Derivations
from tests.unit.models.lowering.small_graphs import (
    SLACK,
    answers,
    assert_equivalent,
    convolution,
    cut_of,
    in_float64,
    lowered,
    pictures,
)
from tests.unit.models.lowering.test_lowered_siblings import inception


def small_model() -> ModelGraph:
    builder = GraphBuilder()
    source = builder.input("x")
    first = builder.call(F.relu, convolution(builder, source, 3, 4, 3, "first"))
    second = builder.call(F.relu, convolution(builder, first, 4, 5, 3, "second"))
    builder.layer("first", "relu", first)
    builder.layer("second", "relu", second)
    return builder.build([second], input_specifications=[], output_specifications=[])


def test_the_same_layers_give_the_same_graph_again() -> None:
    lowerings = Lowerings(small_model())
    assert lowerings.get(["first", "second"], "float32") is lowerings.get({"second", "first"}, "float32")
    assert lowerings.get(["first"], "float32") is not lowerings.get(["first"], "bfloat16")


def test_a_model_that_has_moved_is_lowered_anew() -> None:
    model = small_model()
    lowerings, values = Lowerings(model), pictures(1, 3, 9, 9)
    before = lowerings.get(["first"], "float32")
    model.to(dtype=torch.float64)
    after = lowerings.get(["first"], "float32")
    assert after is not before
    assert torch.equal(after(values.double())["first"], model.cut(["first"])(values.double())["first"])


def test_only_the_graphs_that_were_used_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lowering, "MAXIMUM_GRAPHS", 2)
    lowerings = Lowerings(small_model())
    first, second = lowerings.get(["first"], "float32"), lowerings.get(["second"], "float32")
    assert lowerings.get(["first"], "float32") is first
    lowerings.get(["first", "second"], "float32")
    assert lowerings.get(["first"], "float32") is first
    assert lowerings.get(["second"], "float32") is not second


def test_a_layer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(NotFound):
        Lowerings(small_model()).get(["third"], "float32")


def test_graphs_of_a_model_share_what_was_made_of_its_tensors() -> None:
    model, derivations, values = small_model(), Derivations(), pictures(1, 3, 9, 9)
    one = lower(model.cut(["first"]), "float32", derivations)
    other = lower(model.cut(["first", "second"]), "float32", derivations)
    convolutions = [next(module for module in graph.module.children()) for graph in (one, other)]
    assert convolutions[0].convolve is convolutions[1].convolve
    assert torch.equal(one(values)["first"], other(values)["first"])


def test_what_was_made_of_tensors_goes_with_the_last_graph_that_uses_it() -> None:
    model, derivations = small_model(), Derivations()
    one = lower(model.cut(["first"]), "float32", derivations)
    other = lower(model.cut(["first", "second"]), "float32", derivations)
    assert len(derivations) == 2
    del other
    gc.collect()  # graphs and their nodes point to one another
    assert len(derivations) == 1
    del one
    gc.collect()
    assert len(derivations) == 0


def test_an_operation_that_does_not_take_bfloat16_is_refused_with_the_field() -> None:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        return {"spectrum": builder.call(torch.abs, builder.call(torch.fft.fft2, source))}

    graph = lower(cut_of(write), "bfloat16", Derivations())
    with pytest.raises(InvalidArgument, match="precision: expected float32") as refused:
        graph(pictures(1, 3, 8, 8))
    assert refused.value.field == "precision"


def test_an_error_that_is_none_of_precision_stays_what_it_is() -> None:
    graph = lower(cut_of(inception), "bfloat16", Derivations())
    with pytest.raises(RuntimeError, match="channels"):
        graph(pictures(1, 4, 9, 9))


def test_a_gradient_of_zeros_gives_zeros_and_no_error() -> None:
    graph, values = lowered(cut_of(inception)), pictures(2, 3, 9, 9).requires_grad_()
    (gradient,) = torch.autograd.grad((graph(values)["block"] * 0).sum(), values)
    assert torch.equal(gradient, torch.zeros_like(values))


def test_the_cut_graph_itself_stays_what_it_was() -> None:
    cut = cut_of(inception)
    before = cut.module.code
    lowered(cut)
    assert cut.module.code == before
    assert not any(name.startswith("lowered") for name, _ in cut.module.named_buffers())


def test_a_graph_of_a_fixed_batch_takes_any_number_of_pictures() -> None:
    assert_equivalent(cut_of(inception, batching=Batching(size=2)), pictures(5, 3, 9, 9))


def test_no_gradient_is_kept_for_weights() -> None:
    cut, values = cut_of(inception), pictures(1, 3, 9, 9)
    answers(lowered(cut), values)
    assert not any(tensor.requires_grad for tensor in cut.module.buffers())


def test_a_layer_that_is_an_input_or_a_constant_stays_what_it_is() -> None:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        return {"input": source, "double": builder.call(torch.mul, source, 2.0)}

    values = pictures(2, 3, 4, 4)
    result = lowered(cut_of(write))(values)
    assert torch.equal(result["input"], values)
    assert torch.equal(result["double"], 2 * values)


def test_bfloat16_takes_and_gives_float32_and_is_as_exact_as_torch_in_bfloat16() -> None:
    cut, values = cut_of(inception), pictures(2, 3, 12, 13)
    halved = CutGraph(copy.deepcopy(cut.module).bfloat16(), cut.layers)
    exact, plain = answers(in_float64(cut), values.double()), answers(halved, values.bfloat16())
    for truth, rounded, fast in zip(exact, plain, answers(lower(cut, "bfloat16", Derivations()), values), strict=True):
        assert fast.dtype == torch.float32
        assert 0 < (fast - truth).norm() <= SLACK * (rounded - truth).norm()


def test_bfloat16_leaves_whole_numbers_alone() -> None:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        places = builder.tensor("places", torch.tensor([300, 301]))
        return {"taken": builder.call(torch.index_select, source, 1, places)}

    values = torch.arange(320.0)[None].sin()
    result = lower(cut_of(write), "bfloat16", Derivations())(values)["taken"]
    torch.testing.assert_close(result, values[:, 300:302], rtol=1 / 256, atol=0)


@pytest.mark.parametrize("file", ["model.onnx", "model.pt2"])
def test_every_layer_of_a_trained_network_stays_what_it_was(trained_networks: Path, file: str) -> None:
    importer = import_onnx if file.endswith("onnx") else import_torch_export
    graph = importer(trained_networks / "squeezenet1_0" / file, name="squeezenet")
    some = [name for name in graph.layers if graph.has_pictures(name)]
    values = pictures(2, 3, 64, 64)
    assert_equivalent(graph.cut(some), values)
    assert_equivalent(graph.cut(some[len(some) // 2 :: 7]), values)

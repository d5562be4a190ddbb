"""Parity: the graph against ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from phosphene_server.errors import ModelUnusable, ParityFailure
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx import import_onnx
from phosphene_server.models.parity import layer_deviations, measure_parity, onnx_runtime
from phosphene_server.models.parity.onnx_runtime import OnnxOriginal
from phosphene_server.values.model import Parity

PICTURE = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)


@pytest.fixture
def small_network(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["input", "weight"], ["convolved"], name="conv"),
        helper.make_node("Relu", ["convolved"], ["rectified"], name="relu"),
        helper.make_node("GlobalAveragePool", ["rectified"], ["output"], name="pool"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 4, 1, 1])],
        [numpy_helper.from_array(10 * random.standard_normal((4, 3, 3, 3)).astype(np.float32), "weight")],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def measured(graph: ModelGraph, path: Path, picture: torch.Tensor = PICTURE) -> Parity:
    comparison = measure_parity(graph, path, (picture,), name="small", model_format="onnx")
    assert comparison.parity is not None, comparison.note
    return comparison.parity


def rewritten(path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """Write a changed copy of a file beside it."""
    model = onnx.load(path)
    change(model)
    target = path.with_name("changed.onnx")
    target.write_bytes(model.SerializeToString())
    return target


def test_parity_of_a_faithful_graph_is_small(small_network: Path) -> None:
    graph = import_onnx(small_network, name="small")
    parity = measured(graph, small_network)
    assert parity.largest_deviation <= 1e-5 * parity.output_scale
    assert parity.output_scale == pytest.approx(float(graph(PICTURE)[0].abs().max()), rel=1e-5)
    assert (parity.runtime, parity.input_shape) == (f"onnxruntime {onnxruntime.__version__}", (2, 3, 8, 8))


def test_departing_graph_is_refused_with_its_first_layer(small_network: Path) -> None:
    graph = import_onnx(small_network, name="small")
    (relu,) = (node for node in graph.module.graph.nodes if node.name == graph.layer("relu").node)
    relu.target = torch.tanh
    graph.module.recompile()
    with pytest.raises(ParityFailure) as caught:
        measured(graph, small_network)
    assert caught.value.layer == "relu"
    assert caught.value.deviation > 1.0


def test_deviations_are_given_for_every_layer(small_network: Path) -> None:
    graph = import_onnx(small_network, name="small")
    deviations = layer_deviations(graph, small_network, (PICTURE,), name="small")
    assert list(deviations) == ["conv", "relu", "pool"]
    assert all(deviation <= 1e-5 * scale for deviation, scale in deviations.values())


def test_values_that_are_not_numbers_depart(small_network: Path) -> None:
    graph = import_onnx(small_network, name="small")
    graph.tensor("weight").fill_(torch.nan)
    with pytest.raises(ParityFailure, match="'conv' departs"):
        measured(graph, small_network)


def test_input_that_the_runtime_does_not_accept_leaves_parity_open(small_network: Path) -> None:
    graph = import_onnx(small_network, name="small")
    comparison = measure_parity(graph, small_network, (PICTURE[..., :5],), name="small", model_format="onnx")
    assert comparison.parity is None
    assert "ONNX Runtime cannot run it" in comparison.note
    with pytest.raises(ModelUnusable, match="ONNX Runtime cannot run it"):
        layer_deviations(graph, small_network, (PICTURE[..., :5],), name="small")


def test_file_that_is_newer_than_the_runtime_leaves_parity_open(small_network: Path) -> None:
    newer = rewritten(small_network, lambda model: setattr(model, "ir_version", 99))
    graph = import_onnx(small_network, name="small")
    comparison = measure_parity(graph, newer, (PICTURE,), name="small", model_format="onnx")
    assert comparison.parity is None
    assert "99" in comparison.note


def test_small_outputs_are_compared_at_their_own_scale(small_network: Path) -> None:
    graph = import_onnx(small_network, name="small")
    graph.tensor("weight").mul_(1e-6)
    tiny = rewritten(small_network, shrink)
    assert measured(graph, tiny).output_scale < 1e-4
    graph.tensor("weight").mul_(1.5)
    with pytest.raises(ParityFailure, match="'conv' departs"):
        measured(graph, tiny)


def shrink(model: onnx.ModelProto) -> None:
    (weight,) = model.graph.initializer
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1e-6), weight.name))


def test_half_precision_is_held_to_its_own_tolerance(small_network: Path) -> None:
    halved = rewritten(small_network, halve)
    graph = import_onnx(halved, name="small")
    parity = measured(graph, halved)
    assert 1e-5 < parity.largest_deviation / parity.output_scale < 1e-2
    graph.tensor("weight").mul_(1.1)
    with pytest.raises(ParityFailure):
        measured(graph, halved)


def halve(model: onnx.ModelProto) -> None:
    (weight,) = model.graph.initializer
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), weight.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16


def test_deviation_below_the_rounding_of_the_graph_itself_is_accepted(tmp_path: Path) -> None:
    # Near 1e7 the numbers of float32 are 1 apart, so what is left of the picture is mostly rounding.
    constants = [numpy_helper.from_array(np.float32([1e7]), name) for name in ("first", "second")]
    nodes = [
        helper.make_node("Add", ["input", "first"], ["sum"], name="add"),
        helper.make_node("Sub", ["sum", "second"], ["output"], name="sub"),
    ]
    path = write_graph(tmp_path / "model.onnx", nodes, constants)
    graph = import_onnx(path, name="small")
    graph.tensor("first").add_(2.0)
    assert measured(graph, path).largest_deviation >= 1.0
    graph.tensor("first").add_(100.0)
    with pytest.raises(ParityFailure):
        measured(graph, path)


def test_endless_loop_ends_with_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still_going"]),
            helper.make_node("Mul", ["value", "value"], ["squared"]),
            helper.make_node("Sin", ["squared"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still_going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    rounds = numpy_helper.from_array(np.int64(2**62), "rounds")
    nodes = [helper.make_node("Loop", ["rounds", "", "input"], ["output"], name="loop", body=body)]
    path = write_graph(tmp_path / "model.onnx", nodes, [rounds])
    monkeypatch.setattr(onnx_runtime, "LIMIT_SECONDS", 0.3)
    with pytest.raises(ModelUnusable, match=r"did not finish .* within 0 s"):
        OnnxOriginal(path, "small").outputs([PICTURE])


def write_graph(path: Path, nodes: list[onnx.NodeProto], constants: list[TensorProto]) -> Path:
    """Write a graph from pictures of 8 by 8 to a tensor of any shape."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_weights_beside_the_file_are_found(small_network: Path) -> None:
    model = onnx.load(small_network)
    onnx.save(model, small_network, save_as_external_data=True, location="weights.data", size_threshold=0)
    graph = import_onnx(small_network, name="small")
    assert measured(graph, small_network).largest_deviation < 1e-3
    assert set(layer_deviations(graph, small_network, (PICTURE,), name="small")) == {"conv", "relu", "pool"}

"""Parity: the graph against ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from phosphene_server.errors import DamagedModel, ParityFailure
from phosphene_server.models.importers.onnx import import_onnx
from phosphene_server.models.parity import layer_deviations, measure_onnx_parity

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


def test_parity_of_a_faithful_graph_is_small(small_network: Path) -> None:
    graph = import_onnx(small_network, name="small")
    parity = measure_onnx_parity(graph, small_network, (PICTURE,), name="small")
    assert parity.largest_deviation <= 1e-5 * parity.output_scale
    assert parity.output_scale == pytest.approx(float(graph(PICTURE)[0].abs().max()), rel=1e-5)
    assert (parity.runtime, parity.input_shape) == (f"onnxruntime {onnxruntime.__version__}", (2, 3, 8, 8))


def test_departing_graph_is_refused_with_its_first_layer(small_network: Path) -> None:
    graph = import_onnx(small_network, name="small")
    (relu,) = (node for node in graph.module.graph.nodes if node.name == graph.layer("relu").node)
    relu.target = torch.tanh
    graph.module.recompile()
    with pytest.raises(ParityFailure) as caught:
        measure_onnx_parity(graph, small_network, (PICTURE,), name="small")
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
        measure_onnx_parity(graph, small_network, (PICTURE,), name="small")


def test_input_that_the_file_does_not_accept_is_explained(small_network: Path) -> None:
    graph = import_onnx(small_network, name="small")
    with pytest.raises(DamagedModel, match="ONNX Runtime cannot run it"):
        measure_onnx_parity(graph, small_network, (PICTURE[..., :5],), name="small")


def test_weights_beside_the_file_are_found(small_network: Path) -> None:
    model = onnx.load(small_network)
    onnx.save(model, small_network, save_as_external_data=True, location="weights.data", size_threshold=0)
    graph = import_onnx(small_network, name="small")
    assert measure_onnx_parity(graph, small_network, (PICTURE,), name="small").largest_deviation < 1e-3
    assert set(layer_deviations(graph, small_network, (PICTURE,), name="small")) == {"conv", "relu", "pool"}

"""Small files to bring in."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import nn


def write_onnx(path: Path, nodes: Sequence[NodeProto], *, classes: int = 5) -> Path:
    """Write a graph from pictures of 8 by 8, behind a convolution, to class scores; `nodes` stand in between."""
    numbers = np.random.default_rng(0)
    first = helper.make_node("Conv", ["picture", "conv.weight"], ["features"], "conv")
    last = [
        helper.make_node("GlobalAveragePool", ["changed"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "fc.weight"], ["scores"], "fc", transB=1),
    ]
    graph = helper.make_graph(
        [first, *nodes, *last],
        "classifier",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", classes])],
        [
            numpy_helper.from_array(numbers.standard_normal((8, 3, 3, 3), dtype=np.float32), "conv.weight"),
            numpy_helper.from_array(numbers.standard_normal((classes, 8), dtype=np.float32), "fc.weight"),
        ],
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=sets, ir_version=8, producer_name="test"), path)
    return path


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    return write_onnx(tmp_path / "classifier.onnx", [helper.make_node("Relu", ["features"], ["changed"], "relu")])


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """Three nodes of two operators that nobody has."""
    nodes = [
        helper.make_node("Sparkle", ["features"], ["a"], "sparkle_1", domain="com.example"),
        helper.make_node("Sparkle", ["a"], ["b"], "sparkle_2", domain="com.example"),
        helper.make_node("Glow", ["b"], ["changed"], "glow", domain="com.example"),
    ]
    return write_onnx(tmp_path / "foreign.onnx", nodes)


@pytest.fixture
def with_external_data(tmp_path: Path) -> Callable[[Path], Path]:
    """Write a model once more, with its weights in a file of their own."""

    def write(path: Path) -> Path:
        target = tmp_path / "external" / "network.onnx"
        target.parent.mkdir()
        onnx.save(onnx.load(path), target, save_as_external_data=True, location="weights.data", size_threshold=0)
        return target

    return write


@pytest.fixture
def traced(tmp_path: Path) -> Path:
    """A TorchScript file."""
    path = tmp_path / "traced.pt"
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    torch.jit.trace(network.eval(), torch.zeros(2, 3, 16, 16)).save(path)
    return path

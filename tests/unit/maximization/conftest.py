"""Tiny networks, and requests for them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import ChannelObjective, MaximizeActivationRequest, Objective
from phosphene_server.values.model import Model, ModelReference, Preprocessing, TensorSpecification
from phosphene_server.values.work import ModelSource

REFERENCE = ModelReference("tiny", "1", "onnx")
PREPROCESSING = Preprocessing("rgb", 0.0, 1.0, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), ImageSize(16, 16), False)
LABELS = ("tench, Tinca tinca", "goldfish", "great white shark", "cock", "hen")


def tiny_graph(*, dtype: torch.dtype = torch.float32, bias: float = 0.0) -> ModelGraph:
    """Two convolutions with rectifiers, a global mean and a linear layer: conv1, relu1, conv2, relu2, pool, logits."""
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype) * 0.3

    builder = GraphBuilder()
    picture = builder.input("picture")
    weight1 = builder.tensor("conv1.weight", drawn(4, 3, 3, 3))
    bias1 = builder.tensor("conv1.bias", drawn(4))
    weight2 = builder.tensor("conv2.weight", drawn(6, 4, 3, 3))
    bias2 = builder.tensor("conv2.bias", drawn(6) + bias)
    weight3 = builder.tensor("logits.weight", drawn(5, 6))
    conv1 = builder.call(F.conv2d, picture, weight1, bias1, 1, 1)
    relu1 = builder.call(torch.relu, conv1)
    conv2 = builder.call(F.conv2d, relu1, weight2, bias2, 2)
    relu2 = builder.call(torch.relu, conv2)
    pool = builder.call(torch.mean, relu2, (2, 3))
    logits = builder.call(F.linear, pool, weight3)
    for name, node in {"conv1": conv1, "relu1": relu1, "conv2": conv2, "relu2": relu2, "pool": pool}.items():
        builder.layer(name, name[:4], node)
    builder.layer("logits", "linear", logits)
    return builder.build(
        [logits],
        input_specifications=[TensorSpecification("picture", "float32", (-1, 3, -1, -1))],
        output_specifications=[TensorSpecification("logits", "float32", (-1, 5))],
    )


def loaded(
    graph: ModelGraph,
    *,
    preprocessing: Preprocessing = PREPROCESSING,
    logits_layer: str = "logits",
    labels: tuple[str, ...] = LABELS,
) -> LoadedModel:
    """A model of a graph."""
    source = ModelSource(REFERENCE, Path("tiny.onnx"), "", 0, "", preprocessing, labels, logits_layer)
    model = Model(
        REFERENCE, "", "", 0, "", graph.inputs, graph.outputs, preprocessing, labels, logits_layer, 0, (), None, 0.0
    )
    return LoadedModel(source, graph, model, torch.device("cpu"))


@pytest.fixture
def model() -> LoadedModel:
    return loaded(tiny_graph())


@pytest.fixture
def make_request() -> Callable[..., MaximizeActivationRequest]:
    """Makes a prepared request for a 16 by 16 picture."""

    def make(objective: Objective | None = None, **settings: Any) -> MaximizeActivationRequest:
        settings = {"size": ImageSize(16, 16), "seed": 7, **settings}
        return MaximizeActivationRequest(REFERENCE, objective or ChannelObjective("conv2", 1), **settings)

    return make

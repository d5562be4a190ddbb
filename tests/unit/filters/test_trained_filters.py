"""A really trained network: what the tiny ones are built to show holds for a file as well."""

import hashlib

import numpy as np
import pytest
import torch

from phosphene_server.filters.application import apply_kernel
from phosphene_server.filters.color import reads_colors
from phosphene_server.filters.extraction import extract_filters
from phosphene_server.models.loading import load_model
from phosphene_server.models.preprocessing import preprocess
from phosphene_server.values.filter import ExtractFiltersRequest
from phosphene_server.values.image import ImageSize, TensorImage
from phosphene_server.values.kernel import ApplyKernelRequest, LayerKernel
from phosphene_server.values.model import ModelReference, Preprocessing
from phosphene_server.values.work import ModelSource

REFERENCE = ModelReference("cifar_resnet20", "1", "torch_export")
PREPROCESSING = Preprocessing("rgb", 0, 1, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), ImageSize(32, 32), False)


@pytest.fixture(scope="module")
def model(trained_networks):
    path = trained_networks / "cifar_resnet20" / "model.pt2"
    data = path.read_bytes()
    source = ModelSource(REFERENCE, path, hashlib.sha256(data).hexdigest(), len(data), "", PREPROCESSING, (), "")
    return load_model(source, torch.device("cpu"))


def test_first_layer_alone_reads_colors(model):
    names = [layer.name for layer in model.graph.layers.values() if layer.filters is not None]
    assert [name for name in names if reads_colors(model.graph, name, "rgb")] == ["conv1"]


def test_every_layer_gives_its_filters(model):
    for layer in model.model.layers:
        if layer.filter_shape:
            response = extract_filters(model, ExtractFiltersRequest(REFERENCE, layer.name))
            assert response.weights.shape == layer.filter_shape
            assert response.figure.shown == min(response.figure.total, 1024)


def test_response_of_the_first_layer_is_its_activation(model):
    image = np.random.default_rng(0).random((3, 40, 33)).astype(np.float32)
    request = ApplyKernelRequest((TensorImage(image),), LayerKernel(REFERENCE, "conv1"), padding="zeros")
    values = apply_kernel(request, model, torch.device("cpu")).responses[0].values
    expected = model.graph.cut(["conv1"])(preprocess(torch.from_numpy(image)[None], PREPROCESSING))["conv1"][0]
    torch.testing.assert_close(torch.from_numpy(values), expected, rtol=1e-4, atol=1e-5)

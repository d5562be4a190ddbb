"""The trained networks, in every format: do they see in photos what they should?"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from phosphene_server.models.loaded import LoadedModel
from phosphene_server.models.loading import load_model
from phosphene_server.models.preprocessing import preprocess
from phosphene_server.models.repository import Repository
from phosphene_server.values.model import ModelFormat, ModelReference

NETWORKS = ("squeezenet1_0", "mobilenet_v1_025", "cifar_resnet20")
VARIANTS = [
    *((name, model_format) for name in NETWORKS for model_format in ("onnx", "torchscript", "torch_export")),
    *((f"{name}_opset11", "onnx") for name in NETWORKS),
    ("mobilenet_v1_025_opset12_bn", "onnx"),
    ("cifar_resnet20_opset12_bn", "onnx"),
]


def load(repository: Path, name: str, model_format: ModelFormat) -> LoadedModel:
    source = Repository(repository).resolve(ModelReference(name, format=model_format))
    return load_model(source, torch.device("cpu"))


def photo(model: LoadedModel) -> torch.Tensor:
    """Chelsea the cat, resized and cropped as the network's notes say; RGB in [0, 1]."""
    side = model.model.preprocessing.size.height
    shorter = 256 if side > 200 else side
    image = Image.fromarray(data.chelsea())
    scale = shorter / min(image.size)
    image = image.resize([round(length * scale) for length in image.size], Image.Resampling.BILINEAR)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    pixels = np.asarray(image.crop((left, top, left + side, top + side)), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("name", "model_format"), VARIANTS)
def test_a_network_sees_the_cat_that_its_author_saw(
    trained_repository: Path, trained_networks: Path, name: str, model_format: ModelFormat
) -> None:
    model = load(trained_repository, name, model_format)
    (logits,) = model.graph(preprocess(photo(model), model.model.preprocessing))
    probabilities = logits.softmax(dim=1)[0]
    folder = trained_networks / name.partition("_opset")[0]
    expected = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["top5"]["chelsea"]
    label, index, probability = expected[0]
    assert int(probabilities.argmax()) == index
    assert float(probabilities[index]) == pytest.approx(probability, abs=0.01)
    assert model.model.labels[index].split(",")[0] == label


@pytest.mark.parametrize("name", NETWORKS)
def test_one_network_has_one_set_of_layer_names(trained_repository: Path, name: str) -> None:
    script, export, onnx = (
        {layer.name: layer for layer in load(trained_repository, name, model_format).model.layers}
        for model_format in ("torchscript", "torch_export", "onnx")
    )
    assert script.keys() == export.keys()
    assert {name: row.shape for name, row in script.items()} == {name: row.shape for name, row in export.items()}
    shared = onnx.keys() & export.keys()
    assert all(onnx[layer].shape == export[layer].shape for layer in shared)
    for layer, following in pairwise(export.values()):
        # Where the exporter folded a batch normalization into its convolution, the row keeps the name of what it holds.
        folded = following.kind == "batch_normalization" and following.name in shared
        assert layer.name in shared or layer.kind != "convolution" or folded


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_parity_is_measured_at_load(trained_repository: Path, name: str) -> None:
    parity = load(trained_repository, name, "onnx").model.parity
    assert parity is not None
    assert parity.runtime.startswith("onnxruntime")
    assert 0 <= parity.largest_deviation < 1e-3 * max(1.0, parity.output_scale)


@pytest.mark.parametrize("model_format", ["onnx", "torchscript", "torch_export"])
def test_a_network_takes_any_batch_and_picture_size(trained_repository: Path, model_format: ModelFormat) -> None:
    model = load(trained_repository, "squeezenet1_0", model_format)
    assert not model.model.preprocessing.fixed_size
    pictures = torch.rand(3, 3, 128, 160)
    (together,) = model.graph(preprocess(pictures, model.model.preprocessing))
    alone = torch.cat([model.graph(preprocess(picture[None], model.model.preprocessing))[0] for picture in pictures])
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-4)

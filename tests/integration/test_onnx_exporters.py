"""Small networks in files as people have them: of older exporters, converters and precisions, against eager torch."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torchvision.models import swin_transformer
from torchvision.models.mobilenetv3 import InvertedResidual, InvertedResidualConfig
from torchvision.models.resnet import BasicBlock
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx import import_onnx
from tests.unit.models.importers.eager_networks import eager_activations, input_gradient, seeded


class SequenceClassifier(nn.Module):
    """A convolution, two layers of LSTM in both directions, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 8, 3)
        self.lstm = nn.LSTM(8, 6, batch_first=True, bidirectional=True, num_layers=2)
        self.head = nn.Linear(12, 5)

    def forward(self, picture: Tensor) -> Tensor:
        steps = self.conv(picture.flatten(2)).transpose(1, 2)
        return self.head(self.lstm(steps)[0][:, -1])


class Segmentation(nn.Module):
    """A DeepLabV3 head on one convolution, resized to the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 4, 1)
        self.classifier = DeepLabHead(8, 5, atrous_rates=(2, 3, 4))

    def forward(self, picture: Tensor) -> Tensor:
        scores = self.classifier(self.stem(picture))
        return F.interpolate(scores, size=picture.shape[-2:], mode="bilinear", align_corners=False)


def residual() -> nn.Module:
    shortcut = nn.Sequential(nn.Conv2d(3, 8, 1, 2), nn.BatchNorm2d(8))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    return nn.Sequential(BasicBlock(3, 8, 2, shortcut), BasicBlock(8, 8), head)


def inverted_residual() -> nn.Module:
    blocks = (
        InvertedResidualConfig(8, 3, 16, 8, use_se, activation, 1, 1, 1.0)
        for use_se, activation in ((True, "RE"), (False, "HS"))
    )
    layers = [InvertedResidual(block, nn.BatchNorm2d) for block in blocks]
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def swin() -> nn.Module:
    return swin_transformer.SwinTransformer([4, 4], 8, [1, 1], [2, 4], [2, 2], num_classes=5)


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "residual": residual,
    "inverted residual": inverted_residual,
    "sequence": SequenceClassifier,
    "segmentation": Segmentation,
    "swin": swin,
}

NOT_EXPORTED = {
    ("swin", 9): "the exporter has no padding of computed amounts there",
    ("segmentation", 9): "the exporter resizes without half pixels there, as it warns",
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Silence what the exporter says of itself: that it is deprecated, and what it traces."""
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


def picture(batch: int) -> Tensor:
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(batch))


def export_traced(network: nn.Module, path: Path, *, opset: int, folded: bool) -> ModelGraph:
    """Write a network by the exporter that is based on TorchScript, at batch 1, and read it."""
    torch.onnx.export(
        network,
        (picture(1).to(next(network.parameters()).dtype),),
        path,
        dynamo=False,
        opset_version=opset,
        input_names=["input"],
        dynamic_axes={"input": {0: "batch"}},
        training=torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=folded,
    )
    return import_onnx(path, name="traced")


def deviation(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest value, infinite where shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("opset", [9, 11, 13, 17])
@pytest.mark.parametrize("name", NETWORKS)
def test_layers_of_the_older_exporter_equal_eager(name: str, opset: int, tmp_path: Path) -> None:
    if (name, opset) in NOT_EXPORTED:
        pytest.skip(NOT_EXPORTED[name, opset])
    network = seeded(NETWORKS[name])
    graph = export_traced(network, tmp_path / "model.onnx", opset=opset, folded=False).to(dtype=torch.float64)
    network, values = network.double(), picture(2).double()
    expected = eager_activations(network, values)
    with torch.no_grad():
        found = graph.cut(graph.layers)(values)
    modules = {layer for layer in expected if layer and not _does_nothing(network, layer) and "@" not in layer}
    assert modules <= set(found)
    assert max(deviation(found[layer], expected[layer]) for layer in modules) <= 1e-6
    assert deviation(graph(values)[0], expected[""]) <= 1e-6
    ours, theirs = (input_gradient(function, values) for function in (lambda x: graph(x)[0], network))
    assert deviation(ours, theirs) <= 1e-6


def _does_nothing(network: nn.Module, layer: str) -> bool:
    """Whether a module does nothing in inference, so that the file does not have it."""
    kind = type(network.get_submodule(layer.split("@", maxsplit=1)[0]))
    return kind.__name__ in ("Dropout", "StochasticDepth", "Identity")


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("name", ["residual", "inverted residual", "segmentation"])
def test_folded_files_of_the_older_exporter_equal_eager(name: str, opset: int, tmp_path: Path) -> None:
    network = seeded(NETWORKS[name])
    graph = export_traced(network, tmp_path / "model.onnx", opset=opset, folded=True).to(dtype=torch.float64)
    network, values = network.double(), picture(2).double()
    assert deviation(graph(values)[0], network(values)) <= 1e-5
    weights = [layer.filters.weight for layer in graph.layers.values() if layer.filters is not None]
    assert all(weight in dict(network.named_parameters()) for weight in weights)


def test_half_precision_files_compute_in_full_precision(tmp_path: Path) -> None:
    network = seeded(residual).half()
    graph = export_traced(network, tmp_path / "model.onnx", opset=17, folded=False)
    values = picture(2)
    (ours,) = graph(values)
    assert ours.dtype == torch.float32
    assert deviation(ours, network.float()(values)) <= 1e-5


@pytest.mark.parametrize("single", [True, False])
def test_external_weights_are_read_from_the_folder(tmp_path: Path, single: bool) -> None:
    network, path = seeded(residual), tmp_path / "model.onnx"
    export_traced(network, path, opset=17, folded=False)
    model = onnx.load(path)
    onnx.save(
        model, path, save_as_external_data=True, all_tensors_to_one_file=single, size_threshold=0, location="w.bin"
    )
    assert path.stat().st_size < 20_000
    assert deviation(import_onnx(path, name="external")(picture(2))[0], network(picture(2))) <= 1e-5


def test_pictures_with_channels_last_are_convolved(tmp_path: Path) -> None:
    """As converters of TensorFlow write it: the picture is transposed, padding is SAME, the product has no bias."""
    random = np.random.default_rng(0)
    weight, product = (random.standard_normal(shape).astype(np.float32) for shape in ((6, 3, 3, 3), (6, 4)))
    nodes = [
        helper.make_node("Transpose", ["image"], ["first"], name="model/conv/Conv2D__6", perm=[0, 3, 1, 2]),
        helper.make_node(
            "Conv", ["first", "kernel"], ["conv"], name="model/conv/Conv2D", strides=[2, 2], auto_pad="SAME_UPPER"
        ),
        helper.make_node("Clip", ["conv", "zero", "six"], ["active"], name="model/act/Relu6"),
        helper.make_node("Transpose", ["active"], ["last"], name="model/act/Relu6__10", perm=[0, 2, 3, 1]),
        helper.make_node("ReduceMean", ["last"], ["mean"], name="model/pool/Mean", axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "dense"], ["output"], name="model/dense/MatMul"),
    ]
    constants = {"kernel": weight, "dense": product, "zero": np.float32(0), "six": np.float32(6)}
    graph = helper.make_graph(
        nodes,
        "converted",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 9, 8, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), tmp_path / "model.onnx")
    ours = import_onnx(tmp_path / "model.onnx", name="converted")
    image = torch.from_numpy(random.standard_normal((2, 9, 8, 3)).astype(np.float32))
    padded = F.pad(image.permute(0, 3, 1, 2), (0, 1, 1, 1))
    active = F.relu6(F.conv2d(padded, torch.from_numpy(weight), stride=2))
    torch.testing.assert_close(ours(image)[0], active.mean((2, 3)) @ torch.from_numpy(product))
    geometry, filters, _ = ours.filters("model/conv/Conv2D")
    assert (geometry.padding, tuple(filters.shape)) == (((1, 1), (0, 1)), (6, 3, 3, 3))

"""One network in three formats: the same layer names, kinds, activations and gradients, wherever the file has them.

What may be missing, and why:

- ONNX: the exporter folds each batch normalization into the convolution before it. The result is called by the name of
  the normalization, which is what its value is; the convolution's own value is gone. So are modules that do nothing in
  inference (dropout, stochastic depth).
- torch.export: stochastic depth leaves no operation behind; dropout does.
- TorchScript keeps everything.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx import import_onnx
from phosphene_server.models.importers.torch_export import import_torch_export
from phosphene_server.models.importers.torchscript import import_torchscript
from tests.unit.models.importers.eager_networks import eager_activations, input_gradient, seeded

NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], int]] = {
    "googlenet": (lambda: models.googlenet(weights=None, init_weights=False, aux_logits=False, num_classes=10), 64),
    "resnet18": (lambda: models.resnet18(num_classes=10), 64),
    "mobilenet_v3_small": (lambda: models.mobilenet_v3_small(num_classes=10), 64),
    "vision_transformer": (lambda: models.VisionTransformer(32, 8, 2, 2, 24, 48, num_classes=10), 32),
    "swin": (lambda: models.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=10), 32),
}
"""Name -> how it is made, and its picture's height and width; the transformers are small ones of torchvision's."""

TOLERANCES = {"onnx": 1e-5, "traced": 1e-6, "scripted": 1e-6, "static": 1e-6, "dynamic": 1e-6}
"""Largest deviation from eager in float64, relative to the largest value. The ONNX exporter folds in float32, whose
rounding, 6e-8, stays in the weights; the others keep the weights themselves."""

UNFOLDED = {"onnx": (nn.Conv2d, nn.Dropout), "static": (), "dynamic": (), "traced": (), "scripted": ()}
"""Kinds of modules that a format may lack; those without any effect, stochastic depth, come on top."""

ONNX_KINDS = {
    ("batch_normalization", "convolution"),  # folded
    ("average_pool", "mean"),  # global pooling is a mean in the file
    ("average_pool", "module"),  # and several operations after a transposition
    ("flatten", "reshape"),
}
"""How the kind of a layer may differ in ONNX, which has its own operators."""


@dataclass(frozen=True)
class Formats:
    """A network and what the importers made of its files."""

    network: nn.Module
    picture: Tensor
    activations: Mapping[str, Tensor]
    graphs: Mapping[str, ModelGraph]


def dynamic_batch() -> tuple[dict[int, torch.export.Dim]]:
    return ({0: torch.export.Dim("batch", min=1)},)


def export_all(network: nn.Module, picture: Tensor, folder: Path) -> dict[str, ModelGraph]:
    """Write a network in each format and read it again."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx_file = folder / "model.onnx"
        torch.onnx.export(
            network,
            (picture,),
            onnx_file,
            dynamo=True,
            dynamic_shapes=dynamic_batch(),
            external_data=False,
            verbose=False,
        )
        torch.jit.trace(network, picture).save(str(folder / "traced.pt"))
        torch.jit.script(network).save(str(folder / "scripted.pt"))
        torch.export.save(torch.export.export(network, (picture,)), folder / "static.pt2")
        program = torch.export.export(network, (picture,), dynamic_shapes=dynamic_batch())
        torch.export.save(program, folder / "dynamic.pt2")
    return {
        "onnx": import_onnx(onnx_file, name="onnx"),
        "traced": import_torchscript(folder / "traced.pt", name="traced"),
        "scripted": import_torchscript(folder / "scripted.pt", name="scripted"),
        "static": import_torch_export(folder / "static.pt2", name="static"),
        "dynamic": import_torch_export(folder / "dynamic.pt2", name="dynamic"),
    }


@pytest.fixture(scope="module", params=NETWORKS)
def formats(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Formats:
    make, size = NETWORKS[request.param]
    network = seeded(make)
    nn.init.normal_(list(network.parameters())[-2], std=0.1)  # the head of a vision transformer is zero at first
    picture = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    graphs = export_all(network, picture, tmp_path_factory.mktemp(request.param))
    graphs = {form: graph.to(dtype=torch.float64) for form, graph in graphs.items()}
    network, picture = network.double(), picture.double()
    return Formats(network, picture, eager_activations(network, picture), graphs)


def test_layers_have_the_authors_names_unless_the_file_lost_them(formats: Formats) -> None:
    authors = [name for name in formats.activations if name]
    for form, graph in formats.graphs.items():
        missing = [name for name in authors if name not in graph.layers]
        modules = {name: formats.network.get_submodule(name.split("@")[0]) for name in missing}
        unexplained = [
            name
            for name, module in modules.items()
            if not isinstance(module, UNFOLDED[form])
            and not (form != "traced" and type(module).__name__ == "StochasticDepth")
        ]
        assert not unexplained, form


def test_kinds_agree(formats: Formats) -> None:
    reference = formats.graphs["dynamic"].layers
    for form, graph in formats.graphs.items():
        pairs = {
            (reference[name].kind, layer.kind)
            for name, layer in graph.layers.items()
            if name in reference and "self_attention" not in name  # one operation or many, as tracing had it
        }
        different = {(one, other) for one, other in pairs if one != other}
        assert different <= (ONNX_KINDS if form == "onnx" else set()), form


def test_layers_come_in_the_same_order(formats: Formats) -> None:
    reference = list(formats.graphs["dynamic"].layers)
    for form, graph in formats.graphs.items():
        common = [name for name in graph.layers if name in reference]
        assert common == [name for name in reference if name in graph.layers], form


def test_activations_of_every_layer_equal_eager(formats: Formats) -> None:
    for form, graph in formats.graphs.items():
        with torch.no_grad():
            found = graph.cut(graph.layers)(formats.picture)
        compared = [name for name in found if name in formats.activations]
        assert len(compared) >= 0.6 * (len(formats.activations) - 1), form
        for name in compared:
            assert deviation(found[name], formats.activations[name]) <= TOLERANCES[form], f"{form}: {name}"


def test_outputs_and_gradients_equal_eager(formats: Formats) -> None:
    expected = input_gradient(formats.network, formats.picture)
    for form, graph in formats.graphs.items():
        assert deviation(graph(formats.picture)[0], formats.activations[""]) <= TOLERANCES[form], form
        found = input_gradient(lambda x, graph=graph: graph(x)[0], formats.picture)
        assert deviation(found, expected) <= TOLERANCES[form], form


def deviation(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest value, infinite where shapes differ."""
    if found.shape != expected.shape:
        return float("inf")
    return float((found - expected).abs().max() / expected.abs().max())

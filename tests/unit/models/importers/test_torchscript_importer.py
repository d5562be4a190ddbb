from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.torchscript import import_torchscript
from tests.unit.models.importers.eager_networks import (
    Branching,
    Overwriting,
    assert_equals_eager,
    eager_activations,
    input_gradient,
    seeded,
)

NETWORKS = ("cifar_resnet20", "mobilenet_v1_025", "squeezenet1_0")


def save(network: nn.Module, path: Path, *, how: str, picture: Tensor | None = None) -> Path:
    if how == "traced":
        example = torch.randn(2, 3, 32, 32) if picture is None else picture
        torch.jit.trace(network, example, check_trace=False).save(str(path))
    else:
        torch.jit.script(network).save(str(path))
    return path


def imported(network: nn.Module, folder: Path, *, how: str = "scripted", picture: Tensor | None = None) -> ModelGraph:
    return import_torchscript(save(network, folder / "model.pt", how=how, picture=picture), name="small")


@pytest.mark.parametrize("how", ["traced", "scripted"])
@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (3, 3, 48, 40)])
def test_every_activation_and_the_gradient_equal_eager(tmp_path: Path, how: str, shape: tuple[int, ...]) -> None:
    network = seeded(Branching)
    graph = imported(network, tmp_path, how=how)
    assert_equals_eager(graph, network, torch.randn(shape, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("how", ["traced", "scripted"])
def test_layers_are_the_authors_modules(tmp_path: Path, how: str) -> None:
    network = seeded(Branching)
    graph = imported(network, tmp_path, how=how)
    assert set(graph.layers) == set(eager_activations(network, torch.randn(1, 3, 32, 32))) - {""}
    assert {"block.relu", "block.relu@1", "block@1", "block.relu@3", "stem.0"} <= set(graph.layers)


def test_kinds_and_filters_are_told(tmp_path: Path) -> None:
    graph = imported(seeded(Branching), tmp_path, how="traced")
    kinds = {
        name: graph.layers[name].kind for name in ("stem", "stem.0", "stem.2", "block.bn1", "pool", "fc", "dropout")
    }
    assert kinds == {
        "stem": "module",
        "stem.0": "convolution",
        "stem.2": "max_pool",
        "block.bn1": "batch_normalization",
        "pool": "average_pool",
        "fc": "linear",
        "dropout": "dropout",
    }
    geometry, weight, bias = graph.filters("stem.0")
    assert (geometry.weight, geometry.stride, geometry.padding) == ("stem.0.weight", (2, 2), ((2, 2), (2, 2)))
    assert weight.shape == (8, 3, 5, 5)
    assert bias is not None
    assert graph.layers["block.conv1"].parameters == ("block.conv1.weight",)


@pytest.mark.parametrize("how", ["traced", "scripted"])
def test_activations_before_an_overwriting_relu_are_kept(tmp_path: Path, how: str) -> None:
    graph = imported(seeded(Branching), tmp_path, how=how)
    with torch.no_grad():
        found = graph.cut(["stem.0", "stem.1"])(torch.randn(2, 3, 32, 32))
    assert found["stem.0"].min() < 0
    torch.testing.assert_close(found["stem.1"], found["stem.0"].relu())


@pytest.mark.parametrize("how", ["traced", "scripted"])
def test_writes_through_views_reach_all_that_share_the_memory(tmp_path: Path, how: str) -> None:
    picture = torch.randn(2, 3, 4, 4)
    graph = imported(Overwriting(), tmp_path, how=how, picture=picture)
    assert_equals_eager(graph, Overwriting(), torch.randn(3, 3, 6, 5))


def test_inputs_are_described_with_the_axes_that_may_differ(tmp_path: Path) -> None:
    graph = imported(seeded(Branching), tmp_path, how="scripted")
    assert [(each.name, each.shape) for each in graph.inputs] == [("x", (-1, 3, -1, -1))]
    assert [(each.name, each.shape) for each in graph.outputs] == [("output", (-1, 5))]
    assert graph.producer.endswith("Branching")


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.fc = nn.Linear(2 * 26 * 26, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).flatten(1))


def test_a_scripted_network_of_one_size_says_so(tmp_path: Path) -> None:
    graph = imported(seeded(Flat), tmp_path)
    assert graph.inputs[0].shape == (-1, 1, 28, 28)
    assert_equals_eager(graph, seeded(Flat), torch.randn(3, 1, 28, 28))


class Sizes(nn.Module):
    """Arithmetic with sizes: patches to tokens and back."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(n, (h // 2) * (w // 2), 4 * c)
        return tokens.softmax(-1).mean(1)


@pytest.mark.parametrize("how", ["traced", "scripted"])
def test_arithmetic_with_sizes_stays_open(tmp_path: Path, how: str) -> None:
    graph = imported(Sizes(), tmp_path, how=how)
    assert_equals_eager(graph, Sizes(), torch.randn(3, 3, 12, 20))


class Loops(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        found: list[Tensor] = []
        for layer in self.layers:
            x = torch.tanh(layer(x))
            if x.dim() != 2:
                raise ValueError("two axes are expected")
            found.append(x)
        for index in range(2):
            x = x + found[index] * float(index)
        return x, found


def test_loops_lists_and_several_outputs_are_run_at_import(tmp_path: Path) -> None:
    network = seeded(Loops).double()
    graph = imported(network, tmp_path).to(dtype=torch.float64)
    x = torch.randn(5, 4, dtype=torch.float64)
    last, found = network(x)
    for value, expected in zip(graph(x), [last, *found], strict=True):
        torch.testing.assert_close(value, expected)
    assert [spec.name for spec in graph.outputs] == ["output_0", "output_1_0", "output_1_1", "output_1_2"]


class Missing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return torch.polygamma(1, torch.special.airy_ai(self.inner(x)) + torch.polygamma(2, x))


def test_all_missing_operators_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        imported(seeded(Missing), tmp_path)
    assert caught.value.model == "small"
    assert caught.value.operators == (("aten::polygamma", ("forward",)), ("aten::special_airy_ai", ("forward",)))


def test_a_module_saved_in_training_mode_is_read_for_inference(tmp_path: Path) -> None:
    network = seeded(Branching).train()
    graph = imported(network, tmp_path)
    assert_equals_eager(graph, network.eval(), torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("batch", "size"), [(1, 48), (3, 32)])
def test_trained_networks_equal_torch_jit(trained_networks: Path, name: str, batch: int, size: int) -> None:
    path = trained_networks / name / "model.pt"
    graph = import_torchscript(path, name=name).to(dtype=torch.float64)
    original = torch.jit.load(str(path)).double()
    picture = torch.randn(batch, 3, size, size, dtype=torch.float64)
    with torch.jit.optimized_execution(False):  # Otherwise torch compiles the network first, for seconds.
        torch.testing.assert_close(graph(picture)[0], original(picture), rtol=1e-6, atol=1e-9)
        expected = input_gradient(original, picture)
    gradient = input_gradient(lambda x: graph(x)[0], picture)
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("name", NETWORKS)
def test_trained_networks_have_the_layers_of_named_modules(trained_networks: Path, name: str) -> None:
    path = trained_networks / name / "model.pt"
    modules = {module for module, _ in torch.jit.load(str(path)).named_modules()} - {""}
    graph = import_torchscript(path, name=name)
    outputs = {output.name for output in graph.outputs}  # which no module returned have rows of their own
    assert {layer.split("@")[0] for layer in graph.layers} - outputs == modules

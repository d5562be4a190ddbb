"""What programs may be besides a chain of operators of one tensor: nested results, regions, conditions, other types."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.ao.quantization.fx._decomposed  # defines the operators that quantized programs are written in
from torch import Tensor, nn

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.torch_export import import_torch_export
from tests.unit.models.importers.eager_networks import Branching, input_gradient, seeded


def imported(network: nn.Module, folder: Path, *inputs: Any, **named: Any) -> ModelGraph:
    torch.export.save(torch.export.export(network, inputs, named), folder / "model.pt2")
    return import_torch_export(folder / "model.pt2", name="program")


class Nested(nn.Module):
    """Takes a dictionary, a tensor and a keyword, and counts its calls; returns numbers, tuples and dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.register_buffer("calls", torch.zeros(()))
        self.offset = torch.tensor([1.0, 2.0, 3.0, 4.0])

    def forward(self, x: dict[str, Tensor], scale: Tensor, *, bias: Tensor) -> dict[str, Any]:
        self.calls.add_(1)
        first = self.conv(x["left"]) * scale
        second = self.conv(x["right"]) + bias + self.offset.view(1, 4, 1, 1)
        return {"first": first, "pair": (second, first + self.calls), "number": 3, "inner": {"sum": first + second}}


def test_nested_inputs_and_outputs_have_the_authors_names(tmp_path: Path) -> None:
    left, right, scale, bias = (torch.randn(2, channels, 5, 5) for channels in (3, 3, 1, 1))
    network = seeded(Nested)
    graph = imported(network, tmp_path, {"left": left, "right": right}, scale, bias=bias)
    assert [entry.name for entry in graph.inputs] == ["x_left", "x_right", "scale", "bias"]
    assert [entry.name for entry in graph.outputs] == ["first", "pair_0", "pair_1", "inner.sum"]
    assert all(entry.shape[0] == -1 for entry in (*graph.inputs, *graph.outputs))
    expected = network({"left": left, "right": right}, scale, bias=bias)
    flat = [expected["first"], *expected["pair"], expected["inner"]["sum"]]
    for found, wanted in zip(graph(left, right, scale, bias), flat, strict=True):
        torch.testing.assert_close(found, wanted)


def test_one_result_is_called_output_and_several_are_numbered(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [x + 1, x * 2]

    assert [entry.name for entry in imported(nn.ReLU(), tmp_path, torch.ones(1, 2)).outputs] == ["output"]
    assert [entry.name for entry in imported(Two(), tmp_path, torch.ones(1, 2)).outputs] == ["output_0", "output_1"]


def test_an_input_that_is_no_tensor_is_refused_by_name(tmp_path: Path) -> None:
    class Repeating(nn.Module):
        def forward(self, x: Tensor, count: int) -> Tensor:
            return x * count

    shapes = {"x": None, "count": torch.export.Dim.DYNAMIC}
    program = torch.export.export(Repeating(), (torch.ones(1, 2), 5), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "model.pt2")
    with pytest.raises(UnsupportedModel, match="input count is no tensor"):
        import_torch_export(tmp_path / "model.pt2", name="program")


class Regions(nn.Module):
    """Computes a part without gradients and another in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Conv2d(3, 4, 1)
        self.trained = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            held = self.frozen(x).relu()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            learned = self.trained(x)
        return held * learned


@pytest.mark.parametrize("strict", [False, True])
def test_regions_are_written_into_the_program(tmp_path: Path, strict: bool) -> None:
    network, picture = seeded(Regions), torch.randn(2, 3, 4, 4)
    torch.export.save(torch.export.export(network, (picture,), strict=strict), tmp_path / "model.pt2")
    graph = import_torch_export(tmp_path / "model.pt2", name="regions").to(dtype=torch.float64)
    network, picture = network.double(), picture.double()
    expected = network.frozen(picture).relu().detach() * network.trained(picture)
    torch.testing.assert_close(graph(picture)[0], expected)
    assert {"frozen", "trained"} <= set(graph.layers)
    gradient = input_gradient(lambda x: graph(x)[0], picture)
    wanted = input_gradient(lambda x: network.frozen(x).relu().detach() * network.trained(x), picture)
    torch.testing.assert_close(gradient, wanted)


def test_layers_in_a_region_without_gradients_have_them(tmp_path: Path) -> None:
    graph = imported(seeded(Regions), tmp_path, torch.randn(1, 3, 4, 4))
    assert input_gradient(lambda x: graph.cut(["frozen"])(x)["frozen"], torch.randn(1, 3, 4, 4)).abs().min() > 0


class Deciding(nn.Module):
    """Takes one of two ways, by the mean of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.bright = nn.Conv2d(3, 4, 1)
        self.dark = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.mean() > 0, lambda x: self.bright(x).relu(), lambda x: self.dark(x), (x,))


@pytest.mark.parametrize("shift", [-3.0, 3.0])
def test_a_condition_is_decided_for_every_input(tmp_path: Path, shift: float) -> None:
    network = seeded(Deciding)
    graph = imported(network, tmp_path, torch.randn(1, 3, 4, 4)).to(dtype=torch.float64)
    picture = torch.randn(1, 3, 4, 4, dtype=torch.float64) + shift
    chosen = network.double().bright if shift > 0 else network.double().dark

    def expected(x: Tensor) -> Tensor:
        return chosen(x).relu() if shift > 0 else chosen(x)

    torch.testing.assert_close(graph(picture)[0], expected(picture))
    found = input_gradient(lambda x: graph(x)[0], picture)
    torch.testing.assert_close(found, input_gradient(expected, picture))


def test_a_loop_that_the_input_ends_is_refused_by_name(tmp_path: Path) -> None:
    class Looping(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.while_loop(lambda y: y.sum() < 10, lambda y: (y + 1,), (x,))[0]

    with pytest.raises(UnsupportedModel, match="while_loop"):
        imported(Looping(), tmp_path, torch.zeros(2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    network = seeded(Branching).to(dtype)
    graph = imported(network, tmp_path, torch.randn(2, 3, 32, 32, dtype=dtype))
    assert graph.inputs[0].data_type == "float32"
    assert graph.inputs[0].shape == (-1, 3, -1, -1)
    picture = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(graph(picture)[0], network.float()(picture))


class Quantized(nn.Module):
    """What PyTorch 2 Export leaves of a quantized layer: pairs of operators around the input and the weight."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 128, (4, 3, 3, 3), dtype=torch.int8))
        self.register_buffer("scales", torch.rand(4) * 0.01 + 0.01)
        self.register_buffer("zeros", torch.zeros(4, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        operators = torch.ops.quantized_decomposed
        x = operators.quantize_per_tensor(x, 0.03, 5, -128, 127, torch.int8)
        x = operators.dequantize_per_tensor(x, 0.03, 5, -128, 127, torch.int8)
        weight = operators.dequantize_per_channel(self.weight, self.scales, self.zeros, 0, -127, 127, torch.int8)
        return torch.conv2d(x, weight)


def test_quantized_networks_equal_eager_and_pass_gradients_straight_through(tmp_path: Path) -> None:
    network, picture = seeded(Quantized), torch.randn(1, 3, 6, 6) * 2
    graph = imported(network, tmp_path, picture)
    torch.testing.assert_close(graph(picture)[0], network(picture))
    picture.requires_grad_()
    (gradient,) = torch.autograd.grad(graph(picture)[0].sum(), picture)
    weight = network.weight * network.scales.view(-1, 1, 1, 1)
    inside = ((picture / 0.03 + 5) >= -128) & ((picture / 0.03 + 5) <= 127)
    (straight,) = torch.autograd.grad(torch.conv2d(picture, weight).sum(), picture)
    assert not inside.all()
    torch.testing.assert_close(gradient, straight * inside)


def test_quantized_weights_are_filters(tmp_path: Path) -> None:
    class Layered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = Quantized()

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)

    network = seeded(Layered)
    graph = imported(network, tmp_path, torch.randn(1, 3, 6, 6))
    with_filters = [name for name, layer in graph.layers.items() if layer.filters is not None]
    assert with_filters == ["conv"]
    expected = network.conv.weight * network.conv.scales.view(-1, 1, 1, 1)
    torch.testing.assert_close(graph.filters("conv")[1], expected)

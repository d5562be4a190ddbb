"""What people script and trace beyond a plain network: inputs and outputs, attributes, objects, saved variants."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.torchscript import import_torchscript
from tests.unit.models.importers.eager_networks import Branching, assert_equals_eager, seeded

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")


def imported(module: Any, folder: Path) -> ModelGraph:
    module.save(str(folder / "model.pt"))
    return import_torchscript(folder / "model.pt", name="small", size=(6, 6)).to(dtype=torch.float64)


def scripted(network: nn.Module, folder: Path) -> ModelGraph:
    return imported(torch.jit.script(network.eval()), folder)


def tensors(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]


def assert_outputs(graph: ModelGraph, inputs: Sequence[Tensor], expected: dict[str, Tensor]) -> None:
    """Compare all outputs by name, twice: an evaluation leaves nothing behind for the next one."""
    for _ in range(2):
        found = dict(zip([output.name for output in graph.outputs], graph(*inputs), strict=True))
        assert list(found) == list(expected)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-12)


class Pair(NamedTuple):
    sum: Tensor
    parts: list[Tensor]


class Named(nn.Module):
    def forward(self, x: Tensor) -> Pair:
        return Pair(x.sum(1), [x * 2, x * 3])


def test_the_fields_of_a_named_tuple_name_the_outputs(tmp_path: Path) -> None:
    (x,) = tensors((2, 3, 6, 6))
    expected = {"sum": x.sum(1), "parts_0": x * 2, "parts_1": x * 3}
    assert_outputs(scripted(Named(), tmp_path), [x], expected)


class Dictionary(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = {"out": x.exp()}
        found["aux"] = x.sin()
        return found


@pytest.mark.parametrize("how", ["scripted", "traced"])
def test_the_keys_of_a_dictionary_name_the_outputs(tmp_path: Path, how: str) -> None:
    (x,) = tensors((2, 3, 6, 6))
    module: Any = torch.jit.script(Dictionary())
    if how == "traced":
        module = torch.jit.trace(Dictionary(), x.float(), strict=False)
    assert_outputs(imported(module, tmp_path), [x], {"out": x.exp(), "aux": x.sin()})


class Inputs(nn.Module):
    def forward(
        self,
        pair: tuple[Tensor, Tensor],
        several: list[Tensor],
        named: dict[str, Tensor],
        mask: Tensor | None = None,
        scale: float = 2.0,
    ) -> Tensor:
        if mask is not None:
            scale = 100.0
        return (pair[0] - pair[1]) * scale + several[0] * several[1] + named["left"] / named["right"].exp()


INPUT_NAMES = ["pair_0", "pair_1", "several_0", "several_1", "named_left", "named_right"]


@pytest.mark.parametrize("how", ["scripted", "traced"])
def test_tuples_lists_and_dictionaries_of_tensors_are_inputs(tmp_path: Path, how: str) -> None:
    values = tensors(*[(2, 3, 6, 6)] * 6)
    module: Any = torch.jit.script(Inputs())
    if how == "traced":
        a, b, c, d, e, f = [value.float() for value in values]
        module = torch.jit.trace(Inputs(), ((a, b), [c, d], {"left": e, "right": f}))
    graph = imported(module, tmp_path)
    assert [each.name for each in graph.inputs] == INPUT_NAMES
    a, b, c, d, e, f = values
    assert_outputs(graph, values, {"output": (a - b) * 2 + c * d + e / f.exp()})


def test_several_tensors_are_inputs_in_order(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, picture: Tensor, noise: Tensor) -> Tensor:
            return picture * 2 - noise.mean((2, 3), keepdim=True)

    x, y = tensors((2, 3, 6, 6), (2, 3, 4, 4))
    module = torch.jit.trace(Two(), (x.float(), y.float()))
    graph = imported(module, tmp_path)
    assert [(each.name, len(each.shape)) for each in graph.inputs] == [("picture", 4), ("noise", 4)]
    assert_outputs(graph, [x, y], {"output": Two()(x, y)})


def test_an_input_that_is_no_tensor_and_has_no_default_is_refused(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor, times: int) -> Tensor:
            return x * times

    with pytest.raises(UnsupportedModel, match="'times' is a int"):
        scripted(Scaled(), tmp_path)


class Mode(Enum):
    DOUBLE = 2
    TRIPLE = 3


class Attributes(nn.Module):
    """Attributes of every sort, a dictionary and a list of modules, a method beside `forward`, a shared module."""

    def __init__(self) -> None:
        super().__init__()
        self.mode = Mode.TRIPLE
        self.sizes = [2, 3]
        self.factors = {"a": 0.5, "b": 2.0}
        self.pair = (1.5, torch.ones(3, 1, 1) * 2)
        self.steps = nn.ModuleDict({"first": nn.Conv2d(3, 3, 1), "second": nn.Tanh()})
        self.rest = nn.ModuleList([self.steps["second"], nn.Conv2d(3, 4, 1)])
        self.register_buffer("offset", torch.tensor(0.25))

    def scaled(self, x: Tensor, factor: float = 3.0) -> Tensor:
        return self.rest[0](x) * factor

    def forward(self, x: Tensor) -> Tensor:
        if self.mode == Mode.TRIPLE:
            x = x * len(self.sizes) + self.sizes[1]
        for name, step in self.steps.items():
            x = step(x) * self.factors["a" if name == "first" else "b"]
        x = self.scaled(x) * self.pair[0] * self.pair[1] + self.offset
        for step in self.rest:
            x = step(x)
        return x


def test_attributes_of_every_sort_are_read(tmp_path: Path) -> None:
    network = seeded(Attributes)
    graph = scripted(network, tmp_path)
    (x,) = tensors((2, 3, 6, 6))
    network = network.double()
    network.pair = (1.5, network.pair[1].double())
    assert_outputs(graph, [x], {"output": network(x)})
    assert {"steps.first", "steps.second", "rest.0", "rest.1"} <= set(graph.layers)


@torch.jit.script
class Meter:
    def __init__(self, start: int) -> None:
        self.total = start
        self.seen: list[Tensor] = []

    def add(self, value: Tensor, weight: int) -> int:
        self.seen.append(value)
        self.total += weight
        return self.total


class Metered(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        meter = Meter(1)
        for weight in range(3):
            meter.add(x * weight, weight)
        return torch.stack(meter.seen).sum(0) * meter.total


def test_objects_of_a_scripted_class_keep_their_state(tmp_path: Path) -> None:
    (x,) = tensors((2, 3, 6, 6))
    assert_outputs(scripted(Metered(), tmp_path), [x], {"output": x * 3 * 4})


class Remembering(nn.Module):
    """Changes buffers and attributes at every call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("mean", torch.ones(3))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.mean[1] = 7.0
        self.calls = self.calls + 1
        self.mean = self.mean * 2
        return x * self.count * self.calls + self.mean.view(1, 3, 1, 1)


def test_no_state_is_kept_between_evaluations(tmp_path: Path) -> None:
    (x,) = tensors((2, 3, 6, 6))
    assert_outputs(scripted(Remembering(), tmp_path), [x], {"output": Remembering().double()(x)})


class WithoutGradient(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            scale = x.abs().mean()
        return x * scale


def test_what_is_computed_without_gradients_has_none(tmp_path: Path) -> None:
    graph = scripted(WithoutGradient(), tmp_path)
    (x,) = tensors((2, 3, 6, 6))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(graph(x)[0].sum(), x)
    torch.testing.assert_close(gradient, x.abs().mean().detach().expand_as(x))


class Forking(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        future = torch.jit.fork(self.left, x)
        y = x.sin()
        return y + torch.jit.wait(future)


def test_forked_work_is_run_in_place(tmp_path: Path) -> None:
    network = seeded(Forking)
    graph = scripted(network, tmp_path)
    (x,) = tensors((2, 3, 6, 6))
    assert_outputs(graph, [x], {"output": network.double()(x)})


@pytest.mark.parametrize("how", ["scripted", "traced"])
def test_a_frozen_network_has_layers_named_by_what_they_compute(tmp_path: Path, how: str) -> None:
    network = seeded(Branching)
    x = torch.randn(2, 3, 32, 32)
    module: Any = torch.jit.script(network) if how == "scripted" else torch.jit.trace(network, x)
    graph = imported(torch.jit.freeze(module), tmp_path)
    torch.testing.assert_close(graph(x.double())[0], network.double()(x.double()), rtol=1e-5, atol=1e-6)
    assert {"convolution", "convolution@1", "relu", "linear"} <= set(graph.layers)
    assert graph.filters("convolution")[1].shape == (8, 3, 5, 5)


@pytest.mark.parametrize("how", ["scripted", "traced"])
def test_half_precision_weights_are_computed_in_float32(tmp_path: Path, how: str) -> None:
    network = seeded(Branching).half()
    x = torch.randn(2, 3, 32, 32)
    module: Any = torch.jit.script(network) if how == "scripted" else torch.jit.trace(network, x.half())
    module.save(str(tmp_path / "model.pt"))
    graph = import_torchscript(tmp_path / "model.pt", name="half")
    assert {tensor.dtype for tensor in graph.module.buffers() if tensor.is_floating_point()} == {torch.float32}
    assert graph.inputs[0].data_type == "float32"
    assert_equals_eager(graph, network.float(), x)


def test_a_quantized_network_is_refused_with_its_operators(tmp_path: Path) -> None:
    class Quantized(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            quantized = torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)
            return torch.ops.quantized.relu6(quantized).dequantize()

    torch.jit.script(Quantized()).save(str(tmp_path / "model.pt"))
    with pytest.raises(UnsupportedModel) as caught:
        import_torchscript(tmp_path / "model.pt", name="quantized")
    assert "quantized::relu6" in [operator for operator, _ in caught.value.operators]


class Asking(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        several: Tensor | list[Tensor] = [x, x * 2]
        alone: Tensor | list[Tensor] = x
        if isinstance(several, list):
            x = x + several[1]
        if isinstance(alone, list):
            x = x * 100
        return x


def test_questions_about_types_are_answered(tmp_path: Path) -> None:
    (x,) = tensors((2, 3, 6, 6))
    assert_outputs(scripted(Asking(), tmp_path), [x], {"output": x * 3})


class Trained(nn.Module):
    """A convolution as the trainer of PyTorch 1 scripted it, that calls itself by another name."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 1, 1))
        self.tied = self.weight

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight) + F.conv2d(x, self.tied)


def test_tied_weights_are_both_read(tmp_path: Path) -> None:
    network = seeded(Trained)
    (x,) = tensors((2, 3, 6, 6))
    graph = scripted(network, tmp_path)
    assert_outputs(graph, [x], {"output": network.double()(x)})

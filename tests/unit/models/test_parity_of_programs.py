"""Parity of TorchScript and torch.export files: the graph against PyTorch's own operators."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from phosphene_server.errors import ParityFailure
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.torch_export import import_torch_export
from phosphene_server.models.importers.torchscript import import_torchscript
from phosphene_server.models.parity import layer_deviations, measure_parity
from phosphene_server.models.parity.original import CannotRun
from phosphene_server.models.parity.torch_export import TorchExportOriginal
from phosphene_server.models.parity.torchscript import TorchScriptOriginal
from phosphene_server.values.model import ModelFormat

sys.path.insert(0, str(Path(__file__).parent / "importers"))
from eager_networks import Branching, Overwriting, seeded

PICTURE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
EXAMPLE = torch.zeros(2, 3, 32, 32)


def trace(network: nn.Module, path: Path) -> None:
    torch.jit.trace(network, EXAMPLE, check_trace=False).save(path)


def script(network: nn.Module, path: Path) -> None:
    torch.jit.script(network).save(path)


def export(network: nn.Module, path: Path) -> None:
    axes = {0: torch.export.Dim.DYNAMIC}
    torch.export.save(torch.export.export(network, (EXAMPLE,), dynamic_shapes=(axes,)), path)


FILES: list[tuple[Callable[[nn.Module, Path], None], ModelFormat]] = [
    (trace, "torchscript"),
    (script, "torchscript"),
    (export, "torch_export"),
]
IMPORTERS = {"torchscript": import_torchscript, "torch_export": import_torch_export}
every_file = pytest.mark.parametrize(("write", "kind"), FILES, ids=[write.__name__ for write, _ in FILES])


def written(
    network: nn.Module, write: Callable[[nn.Module, Path], None], kind: str, folder: Path
) -> tuple[Path, ModelGraph]:
    path = folder / "model"
    write(network, path)
    return path, IMPORTERS[kind](path, name="net")


@every_file
def test_original_computes_what_the_author_wrote(write, kind, tmp_path):
    path, graph = written(seeded(Branching), write, kind, tmp_path)
    original = (TorchScriptOriginal if kind == "torchscript" else TorchExportOriginal)(path, "net")
    with torch.no_grad():
        expected = seeded(Branching)(PICTURE)
    torch.testing.assert_close(torch.from_numpy(original.outputs([PICTURE])[0]), expected, rtol=1e-5, atol=1e-6)
    parity = measure_parity(graph, path, (PICTURE,), name="net", model_format=kind).parity
    assert parity is not None
    assert parity.runtime.startswith(f"torch {torch.__version__}")
    assert parity.largest_deviation <= 1e-5 * parity.output_scale


@every_file
def test_operators_that_overwrite_are_run_as_they_are(write, kind, tmp_path):
    path, graph = written(Overwriting(), write, kind, tmp_path)
    before = PICTURE.clone()
    parity = measure_parity(graph, path, (PICTURE,), name="net", model_format=kind).parity
    assert parity is not None
    assert parity.largest_deviation <= 1e-6
    assert torch.equal(PICTURE, before)


@every_file
def test_departing_graph_is_refused_with_its_first_layer(write, kind, tmp_path):
    path, graph = written(seeded(Branching), write, kind, tmp_path)
    graph.tensor("block.conv2.weight").mul_(2.0)
    with pytest.raises(ParityFailure) as caught:
        measure_parity(graph, path, (PICTURE,), name="net", model_format=kind)
    assert caught.value.layer == "block.conv2"
    assert caught.value.deviation > 0.01


class Delegating(nn.Module):
    """Its forward calls another method, which calls the modules."""

    def __init__(self) -> None:
        super().__init__()
        self.network = Branching()

    def _compute(self, x: Tensor) -> Tensor:
        return self.network(x)

    def forward(self, x: Tensor) -> Tensor:
        return self._compute(x)


def test_modules_that_another_method_calls_are_compared_too(tmp_path):
    path, graph = written(seeded(Delegating), script, "torchscript", tmp_path)
    deviations = layer_deviations(graph, path, (PICTURE,), name="net", model_format="torchscript")
    assert {"network.stem.0", "network.block.bn1", "network.fc"} <= deviations.keys()


@every_file
def test_layers_are_compared_as_they_were_before_they_were_overwritten(write, kind, tmp_path):
    path, graph = written(seeded(Branching), write, kind, tmp_path)
    deviations = layer_deviations(graph, path, (PICTURE,), name="net", model_format=kind)
    # bn1 is overwritten by the ReLU behind it, conv2 by the addition.
    assert {"stem.0", "block.bn1", "block.conv2", "right.0", "fc"} <= deviations.keys()
    assert all(deviation <= 1e-5 for deviation, _ in deviations.values())


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # of batch normalization in training
@every_file
def test_file_that_was_saved_in_training_mode_is_compared_as_in_inference(write, kind, tmp_path):
    path, graph = written(seeded(Branching).train(), write, kind, tmp_path)
    parity = measure_parity(graph, path, (PICTURE,), name="net", model_format=kind).parity
    assert parity is not None
    assert parity.largest_deviation <= 1e-5 * parity.output_scale


@every_file
def test_input_that_the_file_does_not_take_leaves_parity_open(write, kind, tmp_path):
    path, graph = written(seeded(Branching), write, kind, tmp_path)
    comparison = measure_parity(graph, path, (PICTURE[:, :2],), name="net", model_format=kind)
    assert comparison.parity is None
    assert comparison.note.startswith("PyTorch cannot run it on this input: ")


@every_file
def test_layers_before_outputs_that_are_zeros_are_compared(write, kind, tmp_path):
    network = seeded(Branching)
    nn.init.zeros_(network.fc.weight)
    nn.init.zeros_(network.fc.bias)
    path, graph = written(network, write, kind, tmp_path)
    assert measure_parity(graph, path, (PICTURE,), name="net", model_format=kind).parity.output_scale == 0
    graph.tensor("right.0.weight").mul_(2.0)
    with pytest.raises(ParityFailure, match=r"'right\.0' departs"):
        measure_parity(graph, path, (PICTURE,), name="net", model_format=kind)


class Restless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "never-written")
        return x


def test_operator_that_reaches_outside_is_not_run_however_it_is_spelled(tmp_path):
    path, _ = written(seeded(Branching), script, "torchscript", tmp_path)
    original = TorchScriptOriginal(path, "net")
    original._module = torch.jit.script(Restless())._c
    with pytest.raises(CannotRun, match="aten::save is not run"):
        original.outputs([PICTURE])


def test_half_precision_is_held_to_its_own_tolerance(tmp_path):
    def halved(network: nn.Module, path: Path) -> None:
        torch.export.save(torch.export.export(network.half(), (EXAMPLE.half(),)), path)

    path, graph = written(seeded(Branching), halved, "torch_export", tmp_path)
    parity = measure_parity(graph, path, (PICTURE,), name="net", model_format="torch_export").parity
    assert parity is not None
    assert parity.largest_deviation <= 2e-2 * parity.output_scale

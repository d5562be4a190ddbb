import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from phosphene_server.errors import DamagedModel, UnsupportedModel
from phosphene_server.models.importers.torch_export import import_torch_export
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


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Exported forms of the same network: any batch, one shape, and in core operators."""
    folder = tmp_path_factory.mktemp("exported")
    network = seeded(Branching)
    picture = torch.randn(2, 3, 32, 32)
    dynamic = torch.export.export(network, (picture,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(dynamic, folder / "dynamic.pt2")
    torch.export.save(torch.export.export(network, (picture,)), folder / "static.pt2")
    torch.export.save(dynamic.run_decompositions(), folder / "decomposed.pt2")
    return {form: folder / f"{form}.pt2" for form in ("dynamic", "static", "decomposed")}


@pytest.mark.parametrize("form", ["dynamic", "static", "decomposed"])
@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (3, 3, 48, 40)])
def test_every_activation_and_the_gradient_equal_eager(
    files: dict[str, Path], form: str, shape: tuple[int, ...]
) -> None:
    graph = import_torch_export(files[form], name="small")
    assert_equals_eager(graph, seeded(Branching), torch.randn(shape, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("form", ["dynamic", "static"])
def test_layers_are_the_authors_modules(files: dict[str, Path], form: str) -> None:
    graph = import_torch_export(files[form], name="small")
    assert set(graph.layers) == set(eager_activations(seeded(Branching), torch.randn(1, 3, 32, 32))) - {""}


def test_kinds_filters_and_producer_are_told(files: dict[str, Path]) -> None:
    graph = import_torch_export(files["dynamic"], name="small")
    kinds = [graph.layers[name].kind for name in ("stem", "stem.0", "block.relu@1", "dropout", "fc")]
    assert kinds == ["module", "convolution", "relu", "dropout", "linear"]
    geometry, weight, _ = graph.filters("block.conv2")
    assert (geometry.weight, geometry.groups, weight.shape) == ("block.conv2.weight", 2, (8, 4, 3, 3))
    assert graph.producer == f"PyTorch {torch.__version__} (torch.export)"
    assert [each.shape for each in (*graph.inputs, *graph.outputs)] == [(-1, 3, -1, -1), (-1, 5)]


def test_activations_before_an_overwriting_relu_are_kept(files: dict[str, Path]) -> None:
    graph = import_torch_export(files["dynamic"], name="small")
    with torch.no_grad():
        assert graph.cut(["stem.0"])(torch.randn(2, 3, 32, 32))["stem.0"].min() < 0


def test_a_cut_leaves_out_what_lies_behind(files: dict[str, Path]) -> None:
    graph = import_torch_export(files["dynamic"], name="small")
    assert len(graph.cut(["stem.0"]).module.graph.nodes) == 5  # input, weight, bias, convolution, output


def test_writes_through_views_and_open_sizes_equal_eager(tmp_path: Path) -> None:
    sizes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.export.export(Overwriting(), (torch.randn(2, 3, 4, 6),), dynamic_shapes=(sizes,))
    torch.export.save(program, tmp_path / "model.pt2")
    graph = import_torch_export(tmp_path / "model.pt2", name="small")
    assert_equals_eager(graph, Overwriting(), torch.randn(3, 3, 6, 5))


@pytest.mark.parametrize("name", NETWORKS)
def test_trained_networks_equal_their_torchscript_form(trained_networks: Path, name: str) -> None:
    exported = import_torch_export(trained_networks / name / "model.pt2", name=name).to(dtype=torch.float64)
    scripted = import_torchscript(trained_networks / name / "model.pt", name=name).to(dtype=torch.float64)
    picture = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    assert list(exported.layers) == list(scripted.layers)
    with torch.no_grad():
        found, expected = exported.cut(exported.layers)(picture), scripted.cut(scripted.layers)(picture)
    for layer in exported.layers:
        torch.testing.assert_close(found[layer], expected[layer], rtol=1e-6, atol=1e-9)
    first = input_gradient(lambda x: exported(x)[0], picture)
    torch.testing.assert_close(first, input_gradient(lambda x: scripted(x)[0], picture), rtol=1e-6, atol=1e-12)


class Recorder(fx.Interpreter):
    """Runs torch's own reading of a file and keeps the last value of every module, as it was when it was computed."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        stack = list(n.meta.get("nn_module_stack", {}).items())
        if stack and isinstance(value, Tensor) and n.op == "call_function":
            key, (path, _) = stack[-1]
            self.values[path + ("@" + key.split("@")[1] if "@" in key else "")] = value.detach().clone()
        return value


def test_inner_layers_equal_torchs_own_reading_of_the_file(trained_networks: Path) -> None:
    path = trained_networks / "cifar_resnet20" / "model.pt2"
    program = torch.export.load(path)
    recorder = Recorder(program.module(check_guards=False).double())
    picture = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    graph = import_torch_export(path, name="cifar_resnet20").to(dtype=torch.float64)
    with torch.no_grad():
        output = recorder.run(picture)
        found = graph.cut(graph.layers)(picture)
    leaves = [name for name, layer in graph.layers.items() if layer.kind != "module"]
    assert len(leaves) > 40
    for name in leaves:
        torch.testing.assert_close(found[name], recorder.values[name], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(graph(picture)[0], output, rtol=1e-6, atol=1e-9)


def rewrite(source: Path, target: Path, entry: str, change: Callable[[Any], Any]) -> Path:
    """Copy an archive with one JSON entry changed; what `change` returns replaces it where it is bytes."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as copy:
        assert any(info.filename.endswith(entry) for info in archive.infolist())
        for info in archive.infolist():
            content = archive.read(info)
            if info.filename.endswith(entry):
                changed = change(json.loads(content))
                content = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
            copy.writestr(info.filename, content)
    return target


def test_pickled_weights_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    def change(document: Any) -> Any:
        document["config"]["fc.weight"]["use_pickle"] = True
        return document

    path = rewrite(files["dynamic"], tmp_path / "model.pt2", "_weights_config.json", change)
    with pytest.raises(UnsupportedModel, match=r"pickled: fc\.weight"):
        import_torch_export(path, name="hostile")


def test_expressions_are_never_evaluated(files: dict[str, Path], tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    code = f"__import__('pathlib').Path({str(proof)!r}).touch()"

    def change(document: Any) -> Any:
        for size in document["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = code
        return document

    path = rewrite(files["dynamic"], tmp_path / "model.pt2", "models/model.json", change)
    graph = import_torch_export(path, name="hostile")
    assert graph(torch.randn(1, 3, 32, 32))[0].shape == (1, 5)
    assert not proof.exists()


def test_another_schema_is_refused_with_its_version(files: dict[str, Path], tmp_path: Path) -> None:
    def change(document: Any) -> Any:
        return document | {"schema_version": {"major": 9, "minor": 1}}

    path = rewrite(files["dynamic"], tmp_path / "model.pt2", "models/model.json", change)
    with pytest.raises(UnsupportedModel, match=r"9\.1"):
        import_torch_export(path, name="newer")


def test_all_missing_operators_are_named_with_their_layers(files: dict[str, Path], tmp_path: Path) -> None:
    def change(document: Any) -> Any:
        for node in document["graph_module"]["graph"]["nodes"]:
            if node["target"] == "torch.ops.aten.conv2d.default":
                node["target"] = "torch.ops.mine.conv2d.default"
            if node["target"] == "torch.ops.aten.linear.default":
                node["target"] = "torch.ops.aten.polygamma.default"
        return document

    path = rewrite(files["dynamic"], tmp_path / "model.pt2", "models/model.json", change)
    with pytest.raises(UnsupportedModel) as caught:
        import_torch_export(path, name="other")
    operators = dict(caught.value.operators)
    assert operators["torch.ops.aten.polygamma.default"] == ("fc",)
    assert operators["torch.ops.mine.conv2d.default"][:3] == ("stem.0", "block.conv1", "block.conv2")


@pytest.mark.parametrize(
    "change",
    [
        lambda document: b"{",
        lambda document: document | {"graph_module": {}},
        lambda document: [],
        lambda document: b"[" * 100_000,
    ],
)
def test_damaged_programs_are_refused_with_a_sentence(
    files: dict[str, Path], tmp_path: Path, change: Callable[[Any], Any]
) -> None:
    path = rewrite(files["dynamic"], tmp_path / "model.pt2", "models/model.json", change)
    with pytest.raises(DamagedModel, match="cannot be read"):
        import_torch_export(path, name="damaged")


def test_weights_larger_than_what_the_file_stores_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    def change(document: Any) -> Any:
        row = document["config"]["fc.weight"]["tensor_meta"]
        row["sizes"], row["strides"] = [{"as_int": 100_000}, {"as_int": 100_000}], [{"as_int": 0}, {"as_int": 0}]
        return document

    path = rewrite(files["dynamic"], tmp_path / "model.pt2", "_weights_config.json", change)
    with pytest.raises(DamagedModel, match="too few"):
        import_torch_export(path, name="hostile")


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    torch.jit.script(nn.Sequential(nn.ReLU())).save(str(tmp_path / "model.pt2"))
    with pytest.raises(DamagedModel, match=r"no archive of torch\.export"):
        import_torch_export(tmp_path / "model.pt2", name="other")


def test_a_newer_minor_version_of_the_schema_is_read(files: dict[str, Path], tmp_path: Path) -> None:
    def change(document: Any) -> Any:
        return document | {"schema_version": {"major": document["schema_version"]["major"], "minor": 99}}

    path = rewrite(files["dynamic"], tmp_path / "model.pt2", "models/model.json", change)
    assert import_torch_export(path, name="newer").outputs[0].shape == (-1, 5)


def test_files_from_before_the_present_layout_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", b"")
    with pytest.raises(DamagedModel, match=r"PyTorch 2\.8"):
        import_torch_export(tmp_path / "model.pt2", name="older")

"""What is found out at load about batches, sizes, layouts and outputs, with files that fix one or the other."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from phosphene_server.errors import ModelUnusable
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.models.loading import load_model
from phosphene_server.models.manifest import InputManifest
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import ModelFormat, ModelReference
from phosphene_server.values.work import ModelSource

RANDOM = np.random.default_rng(0)
COUNTS = (1, 3, 5)
Shape = Sequence[int | str]


def load(path: Path, **settings: Any) -> LoadedModel:
    """Load a file with a manifest that says nothing but these settings of its input."""
    kinds: dict[str, ModelFormat] = {".onnx": "onnx", ".pt": "torchscript", ".pt2": "torch_export"}
    manifest = InputManifest(mean=(0.0,), std=(1.0,), **settings)
    source = ModelSource(
        reference=ModelReference("tiny", "1", kinds[path.suffix]),
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size_bytes=path.stat().st_size,
        description="",
        preprocessing=manifest.preprocessing(),
        labels=(),
        logits_layer="",
        picture_input=manifest.name,
        left_open=manifest.left_open(),
    )
    return load_model(source, torch.device("cpu"))


def write_onnx(
    path: Path, nodes: Sequence[NodeProto], *, inputs: dict[str, Shape], outputs: Sequence[str], **weights: Any
) -> Path:
    """Write a graph whose outputs have any shape."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def export(path: Path, network: nn.Module, *examples: Tensor) -> Path:
    if path.suffix == ".pt2":
        torch.export.save(torch.export.export(network.eval(), examples), path)
    else:
        torch.jit.save(torch.jit.trace(network.eval(), examples), path)
    return path


def baked(path: Path, batch: int) -> tuple[Path, Callable[[Tensor], Tensor]]:
    """A file that flattens its batch to constant shapes, and what it computes for each picture."""
    weight = RANDOM.standard_normal((64, 6), dtype=np.float32)
    nodes = [
        helper.make_node("Reshape", ["x", "planes"], ["flat"], "flat"),
        helper.make_node("MatMul", ["flat", "weight"], ["features"], "features"),
        helper.make_node("Reshape", ["features", "rows"], ["y"], "rows_of_pictures"),
    ]
    shapes = {"planes": [batch * 3, 64], "rows": [batch, 18]}
    write_onnx(path, nodes, inputs={"x": [batch, 3, 8, 8]}, outputs=["y"], weight=weight, **shapes)
    matrix = torch.from_numpy(weight).double()
    return path, lambda pictures: (pictures.reshape(-1, 3, 64) @ matrix).reshape(-1, 18)


class Transformer(nn.Module):
    """Patches, one attention with the position first, and a classifier that reads the first token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.position = nn.Parameter(torch.randn(5, 1, 8))
        self.mix = nn.Linear(8, 24)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).permute(2, 0, 1)  # (position, picture, feature)
        tokens = torch.cat([self.token.expand(-1, x.shape[0], -1), tokens]) + self.position
        query, key, value = self.mix(tokens).permute(1, 0, 2).reshape(x.shape[0], 5, 3, 8).unbind(2)
        weights = (query @ key.transpose(1, 2)).softmax(-1)
        return self.head((weights @ value)[:, 0])


class OneByOne(nn.Module):
    """A network that goes through the pictures in a loop, which an export writes out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.conv(x[index : index + 1])[0].mean((1, 2)) for index in range(x.shape[0])])


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


def check_against(model: LoadedModel, eager: Callable[[Tensor], Tensor], *, name: str) -> None:
    """Compare values and gradients with an eager computation, in float64."""
    model.graph.to(dtype=torch.float64)
    for count in COUNTS:
        pictures = torch.rand(count, 3, 8, 8, dtype=torch.float64, requires_grad=True)
        weights = torch.rand(count, 1, dtype=torch.float64)
        ours, theirs = model.graph.cut([name])(pictures)[name], eager(pictures)
        assert torch.allclose(ours, theirs, atol=1e-6)
        found, exact = (
            torch.autograd.grad((value.sin().flatten(1) * weights).sum(), pictures)[0] for value in (ours, theirs)
        )
        assert torch.allclose(found, exact, atol=1e-6)


# Batches


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_file_with_a_batch_in_its_reshapes_takes_any_number_of_pictures(tmp_path, batch):
    path, eager = baked(tmp_path / "model.onnx", batch)
    model = load(path)
    assert (model.model.batch_handling, model.model.fixed_batch_size) == ("split", batch)
    assert model.model.parity.input_shape == (batch, 3, 8, 8)
    assert {row.name: row.shape for row in model.model.layers}["rows_of_pictures"] == (18,)
    check_against(model, eager, name="rows_of_pictures")


@pytest.mark.parametrize("suffix", [".pt2", ".pt"])
def test_a_static_transformer_takes_any_number_of_pictures(tmp_path, suffix):
    network = seeded(Transformer)
    model = load(export(tmp_path / f"model{suffix}", network, torch.rand(1, 3, 8, 8)))
    check_against(model, network.double(), name="head")


@pytest.mark.parametrize("batch", [1, 2])
def test_a_loop_over_the_pictures_is_split(tmp_path, batch):
    network = seeded(OneByOne)
    model = load(export(tmp_path / "model.pt2", network, torch.rand(batch, 3, 8, 8)), size=(8, 8))
    assert model.model.batch_handling == "split"
    check_against(model, network.double(), name=model.model.layers[-1].name)


def test_pictures_that_would_mix_are_evaluated_apart(tmp_path):
    mean = helper.make_node("ReduceMean", ["x"], ["mean"], "mean", keepdims=1)
    nodes = [mean, helper.make_node("Sub", ["x", "mean"], ["y"], "centred")]
    model = load(write_onnx(tmp_path / "model.onnx", nodes, inputs={"x": ["n", 3, 8, 8]}, outputs=["y"]))
    assert (model.model.batch_handling, model.model.fixed_batch_size) == ("split", 1)
    check_against(model, lambda x: x - x.mean((1, 2, 3), keepdim=True), name="centred")


def test_a_network_without_a_batch_in_it_takes_any_at_once(tmp_path):
    nodes = [helper.make_node("Conv", ["x", "weight"], ["y"], "conv")]
    weight = RANDOM.standard_normal((4, 3, 3, 3), dtype=np.float32)
    path = write_onnx(tmp_path / "model.onnx", nodes, inputs={"x": [1, 3, 8, 8]}, outputs=["y"], weight=weight)
    model = load(path)
    assert (model.model.batch_handling, model.model.fixed_batch_size) == ("any", 0)
    check_against(model, lambda x: F.conv2d(x, torch.from_numpy(weight).double()), name="conv")


def test_a_layer_with_the_position_first_is_turned(tmp_path):
    network = seeded(Transformer)
    dynamic = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(network, (torch.rand(2, 3, 8, 8),), dynamic_shapes=dynamic)
    torch.export.save(program, tmp_path / "model.pt2")
    model = load(tmp_path / "model.pt2", size=(8, 8))
    assert {row.name: row.shape for row in model.model.layers}["mix"] == (5, 24)
    found: list[Tensor] = []
    network.mix.register_forward_hook(lambda *arguments: found.append(arguments[-1]))
    pictures = torch.rand(3, 3, 8, 8)
    network(pictures)
    assert torch.allclose(model.graph.cut(["mix"])(pictures)["mix"], found[0].transpose(0, 1), atol=1e-6)


def test_the_axis_of_a_fixed_batch_is_found_by_value_where_lengths_do_not_tell(tmp_path):
    """(4, 2) of a batch of two may have a picture in each column, or two rows for each."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["means"], "means", axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "weight"], ["rows"], "rows"),
        helper.make_node("Transpose", ["rows"], ["columns"], "columns"),
        helper.make_node("Reshape", ["columns", "baked"], ["again"], "again"),
        helper.make_node("Transpose", ["again"], ["y"], "y"),
    ]
    weight = RANDOM.standard_normal((3, 4), dtype=np.float32)
    path = tmp_path / "model.onnx"
    write_onnx(path, nodes, inputs={"x": [2, 3, 8, 8]}, outputs=["y"], weight=weight, baked=[4, 2])
    model = load(path)
    assert model.model.fixed_batch_size == 2
    check_against(model, lambda x: x.mean((2, 3)) @ torch.from_numpy(weight).double(), name="again")


# Sizes


def test_a_flatten_that_makes_rows_of_a_larger_picture_fixes_the_size(tmp_path):
    nodes = [
        helper.make_node("AveragePool", ["x"], ["pooled"], "pool", kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["pooled", "shape"], ["y"], "flat"),
    ]
    path = write_onnx(tmp_path / "model.onnx", nodes, inputs={"x": ["n", 3, "h", "w"]}, outputs=["y"], shape=[-1, 3])
    model = load(path, size=(8, 8)).model
    assert model.preprocessing.fixed_size
    assert model.batch_handling == "any"


def test_the_size_is_the_one_that_the_file_declares(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    path = write_onnx(tmp_path / "model.onnx", nodes, inputs={"x": ["n", 3, 12, 20]}, outputs=["y"])
    assert load(path).model.preprocessing.size == ImageSize(12, 20)
    other = load(path, size=(16, 16)).model
    assert other.preprocessing.size == ImageSize(16, 16)
    assert other.parity.input_shape == (1, 3, 12, 20)  # ONNX Runtime takes no other


# Channels and layouts


def test_channels_last_are_found_by_the_shape(tmp_path):
    nodes = [
        helper.make_node("Transpose", ["x"], ["first"], "transpose", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "weight"], ["y"], "conv"),
    ]
    weight = RANDOM.standard_normal((4, 3, 3, 3), dtype=np.float32)
    path = write_onnx(tmp_path / "model.onnx", nodes, inputs={"x": ["n", 12, 10, 3]}, outputs=["y"], weight=weight)
    model = load(path)
    preprocessing = model.model.preprocessing
    assert (preprocessing.layout, preprocessing.size, preprocessing.channel_order) == ("nhwc", ImageSize(12, 10), "rgb")
    assert model.model.parity.input_shape == (1, 12, 10, 3)
    assert {row.name: row.shape for row in model.model.layers}["conv"] == (4, 10, 8)


def test_one_channel_is_gray(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    model = load(write_onnx(tmp_path / "model.onnx", nodes, inputs={"x": ["n", 1, 28, 28]}, outputs=["y"])).model
    assert (model.preprocessing.channel_order, model.preprocessing.mean) == ("gray", (0.0,))


@pytest.mark.parametrize("shape", [["n", 4, 16, 16], ["n", 10], ["n", 3, 4, 16, 16]])
def test_a_model_that_reads_no_pictures_is_described_all_the_same(tmp_path, shape):
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    model = load(write_onnx(tmp_path / "model.onnx", nodes, inputs={"x": shape}, outputs=["y"])).model
    assert model.picture_input == ""
    assert model.parity is not None
    assert [row.name for row in model.layers] == ["relu"]


def test_a_manifest_that_contradicts_the_file_is_refused(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    path = write_onnx(tmp_path / "model.onnx", nodes, inputs={"x": ["n", 3, 16, 16]}, outputs=["y"])
    with pytest.raises(ModelUnusable, match="gray pictures laid out as nchw"):
        load(path, channel_order="gray")
    with pytest.raises(ModelUnusable, match=r"input.name: it has no input 'z'; its inputs are x"):
        load(path, name="z")


# Several inputs and outputs


def test_the_picture_is_the_first_input_with_four_axes(tmp_path):
    nodes = [helper.make_node("Mul", ["x", "gain"], ["y"], "scaled")]
    path = write_onnx(tmp_path / "model.onnx", nodes, inputs={"gain": [1], "x": ["n", 3, 8, 8]}, outputs=["y"])
    model = load(path).model
    assert (model.picture_input, model.required_inputs) == ("x", ("gain",))
    assert model.parity.input_shape  # measured with a gain too


class TwoOutputs(nn.Module):
    """A module's value, and one that is computed outside of all modules."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.act(x), torch.flatten(x, 1)


@pytest.mark.parametrize("suffix", [".pt2", ".pt", ".onnx"])
def test_every_output_is_a_layer(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    if suffix == ".onnx":
        nodes = [helper.make_node("Relu", ["x"], ["act"]), helper.make_node("Flatten", ["x"], ["flat"])]
        write_onnx(path, nodes, inputs={"x": ["n", 3, 8, 8]}, outputs=["act", "flat"])
    else:
        export(path, TwoOutputs(), torch.rand(1, 3, 8, 8))
    model = load(path, size=(8, 8)).model
    rows = {row.name: (row.kind, row.shape) for row in model.layers}
    assert rows == {"act": ("relu", (3, 8, 8)), model.outputs[1].name: ("flatten", (192,))}

"""The ONNX importer on really trained networks, and on files that are wrong."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from phosphene_server.errors import DamagedModel, UnsupportedModel
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx import import_onnx
from phosphene_server.models.parity import layer_deviations
from tests.unit.models.importers.onnx_files import agreeing

FILES = [
    "cifar_resnet20/model.onnx",
    "cifar_resnet20/model_opset11.onnx",
    "cifar_resnet20/model_opset12_bn.onnx",
    "mobilenet_v1_025/model.onnx",
    "mobilenet_v1_025/model_opset11.onnx",
    "mobilenet_v1_025/model_opset12_bn.onnx",
    "squeezenet1_0/model.onnx",
    "squeezenet1_0/model_opset11.onnx",
]

UNFOLDED = [
    "cifar_resnet20/model_opset12_bn.onnx",
    "mobilenet_v1_025/model_opset12_bn.onnx",
    "squeezenet1_0/model.onnx",
    "squeezenet1_0/model_opset11.onnx",
]
"""Files whose weights are the author's to the last bit; the exporter folded batch normalization into the others."""


def picture(graph: ModelGraph, *, batch: int, size: int | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    side = size or graph.inputs[0].shape[-1]
    return torch.randn(batch, 3, side, side, generator=generator, dtype=dtype)


def original(path: Path) -> torch.jit.ScriptModule:
    return torch.jit.load(path.parent / "model.pt", map_location="cpu").double().eval()


def input_gradient(function: object, source: Tensor) -> Tensor:
    source = source.detach().requires_grad_()
    output = function(source)  # type: ignore[operator]
    output = output[0] if isinstance(output, tuple) else output
    weights = torch.linspace(-1, 1, output.shape[1], dtype=output.dtype)
    (gradient,) = torch.autograd.grad((output * weights).sum(), source)
    return gradient


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("file", FILES)
def test_every_layer_agrees_with_onnx_runtime(file: str, batch: int, trained_networks: Path) -> None:
    graph = import_onnx(trained_networks / file, name=file)
    deviations = layer_deviations(graph, trained_networks / file, (picture(graph, batch=batch),), name=file)
    assert set(deviations) == set(graph.layers)
    worst = max(deviations, key=lambda layer: deviations[layer][0] / max(1.0, deviations[layer][1]))
    deviation, scale = deviations[worst]
    assert deviation <= 1e-4 * max(1.0, scale), worst


@pytest.mark.parametrize("file", FILES)
def test_another_picture_size_agrees_with_the_original(file: str, trained_networks: Path) -> None:
    graph = import_onnx(trained_networks / file, name=file).to(dtype=torch.float64)
    values = picture(graph, batch=2, size=104, dtype=torch.float64)
    with torch.no_grad():
        expected = original(trained_networks / file)(values)
        (ours,) = graph(values)
    # The exporter rounds folded weights to float32, which is 1.2e-6 of mobilenet's output.
    assert (ours - expected).abs().max() <= (1e-8 if file in UNFOLDED else 5e-6) * expected.abs().max()


@pytest.mark.parametrize("file", FILES)
def test_input_gradient_equals_the_original(file: str, trained_networks: Path) -> None:
    graph = import_onnx(trained_networks / file, name=file).to(dtype=torch.float64)
    values = picture(graph, batch=1, dtype=torch.float64)
    ours, expected = input_gradient(graph, values), input_gradient(original(trained_networks / file), values)
    # Measured: folded files 1e-7 to 4e-7, since the exporter rounds their weights; the others at most 4e-10.
    assert (ours - expected).abs().max() <= (1e-8 if file in UNFOLDED else 1e-6) * expected.abs().max()


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith("/model.onnx")])
def test_layers_have_the_names_of_the_modules(file: str, trained_networks: Path) -> None:
    graph = import_onnx(trained_networks / file, name=file)
    modules = dict(original(trained_networks / file).named_modules())
    named = {layer.name for layer in graph.layers.values() if layer.kind == "module" or layer.name in modules}
    assert named <= set(modules)
    missing = {name for name in modules if name and name not in graph.layers}
    # What a file does not hold: convolutions that normalization was folded into, paddings joined with them, dropout.
    absent = {"Conv2d", "Dropout", "ZeroPad2d", "Sequential", "Identity", "LambdaLayer"}
    assert {modules[name].original_name for name in missing} <= absent


def test_unfolded_file_has_every_module(trained_networks: Path) -> None:
    file = trained_networks / "cifar_resnet20/model_opset12_bn.onnx"
    graph = import_onnx(file, name="resnet")
    for layer, kind in {"conv1": "convolution", "bn1": "batch_normalization", "layer2.0": "module"}.items():
        assert graph.layer(layer).kind == kind
    geometry, weight, bias = graph.filters("layer2.0.conv1")
    assert (geometry.weight, geometry.stride, geometry.padding) == ("layer2.0.conv1.weight", (2, 2), ((1, 1), (1, 1)))
    torch.testing.assert_close(weight.double(), original(file).state_dict()["layer2.0.conv1.weight"])
    assert bias is None


def test_fully_connected_layer_has_its_weight_as_torch_takes_it(trained_networks: Path) -> None:
    graph = import_onnx(trained_networks / "cifar_resnet20/model.onnx", name="resnet")
    geometry, weight, bias = graph.filters("linear")
    assert (geometry.weight, geometry.bias, tuple(weight.shape)) == ("linear.weight", "linear.bias", (10, 64))
    assert bias is not None


def test_specifications_and_producer_come_from_the_file(trained_networks: Path) -> None:
    graph = import_onnx(trained_networks / "squeezenet1_0/model_opset11.onnx", name="squeezenet")
    assert (graph.inputs[0].name, graph.inputs[0].data_type, graph.inputs[0].shape) == (
        "input",
        "float32",
        (-1, 3, 227, 227),
    )
    assert (graph.outputs[0].name, graph.outputs[0].shape) == ("logits", (-1, 1000))
    assert graph.producer == "pytorch 2.15.0"


# Files that are made here


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray] | None = None,
    *,
    shape: tuple[int | str, ...] = ("batch", 3, "height", "width"),
    producer: str = "",
) -> Path:
    graph = helper.make_graph(
        nodes,
        "made_here",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10, producer_name=producer)
    onnx.save(model, path)
    return path


def scoped(operator: str, inputs: list[str], output: str, *scopes: str) -> onnx.NodeProto:
    node = helper.make_node(operator, inputs, [output])
    entry = node.metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.name_scopes", repr(["", *scopes, output])
    return node


def test_module_output_is_the_last_value_that_is_used_outside(tmp_path: Path) -> None:
    nodes = [
        scoped("Relu", ["input"], "inner", "block", "block.first"),
        scoped("Neg", ["inner"], "result", "block"),
        scoped("Exp", ["inner"], "unused", "block"),
        scoped("Sigmoid", ["result"], "output", "head"),
    ]
    graph = import_onnx(save(tmp_path / "model.onnx", nodes), name="scoped")
    values = {node.name: node.meta.get("onnx_output") for node in graph.module.graph.nodes}
    assert {layer.name: (layer.kind, values[layer.node]) for layer in graph.layers.values()} == {
        "block.first": ("relu", "inner"),
        "block": ("module", "result"),
        "block.unused": ("exponential", "unused"),
        "head": ("sigmoid", "output"),
    }


@pytest.mark.parametrize("length", [2, 3])
def test_product_and_bias_of_one_module_are_a_linear_layer(tmp_path: Path, length: int) -> None:
    nodes = [
        scoped("MatMul", ["input", "weight"], "product", "fc"),
        scoped("Add", ["product", "bias"], "output", "fc"),
    ]
    constants = {"weight": np.ones((4, length), np.float32), "bias": np.ones(length, np.float32)}
    graph = import_onnx(save(tmp_path / "model.onnx", nodes, constants, shape=("batch", 4)), name="linear")
    (layer,) = graph.layers.values()
    assert (layer.name, layer.kind) == ("fc", "linear")
    _, weight, bias = graph.filters("fc")
    assert weight.shape == (length, 4)
    assert bias is not None
    assert bias.shape == (length,)


def test_scalar_that_is_added_to_a_product_is_no_bias(tmp_path: Path) -> None:
    nodes = [
        scoped("MatMul", ["input", "weight"], "product", "fc"),
        scoped("Add", ["product", "one"], "output", "fc"),
    ]
    constants = {"weight": np.ones((4, 2), np.float32), "one": np.ones((1,), np.float32)}
    graph = import_onnx(save(tmp_path / "model.onnx", nodes, constants, shape=("batch", 4)), name="linear")
    assert graph.filters("fc")[2] is None


@pytest.mark.parametrize(("name", "expected"), [("val_0", "fc.weight"), ("projection", "projection")])
def test_weight_has_the_authors_name_or_that_of_its_module(tmp_path: Path, name: str, expected: str) -> None:
    nodes = [scoped("MatMul", ["input", name], "output", "fc")]
    matrix = np.arange(8, dtype=np.float32).reshape(4, 2)
    graph = import_onnx(save(tmp_path / "model.onnx", nodes, {name: matrix}, shape=("batch", 4)), name="linear")
    geometry, weight, _ = graph.filters("fc")
    assert (geometry.weight, graph.layer("fc").parameters) == (expected, (expected,))
    np.testing.assert_array_equal(weight.numpy(), matrix.T)


def test_weight_of_two_calls_is_kept_once(tmp_path: Path) -> None:
    nodes = [
        scoped("MatMul", ["input", "val_0"], "hidden", "fc"),
        scoped("Relu", ["hidden"], "active", "act"),
        scoped("MatMul", ["active", "val_0"], "output", "fc"),
    ]
    path = save(tmp_path / "model.onnx", nodes, {"val_0": np.ones((4, 4), np.float32)}, shape=("batch", 4))
    graph = import_onnx(path, name="twice")
    assert [graph.filters(layer)[0].weight for layer in ("fc", "fc@1")] == ["fc.weight", "fc.weight"]
    assert len(list(graph.module.buffers())) == 1


def test_a_module_that_is_called_again_is_numbered(tmp_path: Path) -> None:
    nodes = [
        scoped("Relu", ["input"], "relu", "relu"),
        scoped("Neg", ["relu"], "neg"),
        scoped("Relu", ["neg"], "output", "relu"),
    ]
    graph = import_onnx(save(tmp_path / "model.onnx", nodes), name="scoped")
    assert list(graph.layers) == ["relu", "neg", "relu@1"]


def test_names_of_the_older_exporter_are_paths(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["input"], ["a"], name="/branch2/branch2.0/conv/Relu"),
        helper.make_node("Neg", ["a"], ["b"], name="/branch2/branch2.1/Neg"),
        helper.make_node("Exp", ["b"], ["output"], name="/Exp"),
    ]
    graph = import_onnx(save(tmp_path / "model.onnx", nodes, producer="pytorch"), name="paths")
    assert list(graph.layers) == ["branch2.0.conv", "branch2.0", "branch2.1", "branch2", "Exp"]


def test_nodes_without_names_have_that_of_their_output(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["input"], ["hidden"]),
        helper.make_node("Neg", ["hidden"], ["output"], name="last"),
    ]
    assert list(import_onnx(save(tmp_path / "model.onnx", nodes), name="plain").layers) == ["hidden", "last"]


def test_tensors_whose_names_spell_the_same_place_stay_apart(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["input", "a/b"], ["first"]),
        helper.make_node("Add", ["first", "a_b"], ["second"]),
        helper.make_node("Add", ["second", "a_b.c"], ["third"]),
        helper.make_node("Add", ["third", "forward"], ["output"]),
    ]
    constants = {
        name: np.full((1, 3, 1, 1), 10**power, np.float32)
        for power, name in enumerate(["a/b", "a_b", "a_b.c", "forward"])
    }
    (output,) = import_onnx(save(tmp_path / "model.onnx", nodes, constants), name="names")(torch.zeros(1, 3, 2, 2))
    assert float(output.max()) == 1111.0


def test_batch_that_the_file_fixes_is_freed_where_it_is_flattened(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "lengths"], ["output"]),
    ]
    path = save(tmp_path / "model.onnx", nodes, {"lengths": np.array([1, 3])}, shape=(1, 3, 8, 8))
    (output,) = import_onnx(path, name="fixed")(torch.arange(12.0).reshape(4, 3, 1, 1).expand(4, 3, 8, 8))
    torch.testing.assert_close(output, torch.arange(12.0).reshape(4, 3))


def test_half_precision_weights_are_computed_in_float32(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["input"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["half", "scale"], ["product"]),
        helper.make_node("Cast", ["product"], ["output"], to=TensorProto.FLOAT),
    ]
    path = save(tmp_path / "model.onnx", nodes, {"scale": np.full((3, 1, 1), 2, np.float16)})
    (output,) = import_onnx(path, name="half").to(dtype=torch.float64)(
        torch.full((1, 3, 2, 2), 1 / 3, dtype=torch.float64)
    )
    assert float(output[0, 0, 0, 0]) == 2 / 3


def test_all_missing_operators_are_listed_with_their_nodes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("StringSplit", ["input"], ["words", "counts"], name="words"),
        helper.make_node("FusedGemm", ["input"], ["fused"], name="fused", domain="com.microsoft"),
        helper.make_node("StringSplit", ["input"], ["output", ""]),
    ]
    with pytest.raises(UnsupportedModel) as caught:
        import_onnx(save(tmp_path / "model.onnx", nodes), name="missing")
    assert caught.value.operators == (
        ("StringSplit", ("words", "output")),
        ("com.microsoft::FusedGemm", ("fused",)),
    )


def test_operators_of_onnx_runtime_are_listed_with_advice(tmp_path: Path) -> None:
    fused = ["FusedConv", "FusedMatMul", "FastGelu", "BiasGelu", "SkipLayerNormalization", "QLinearAdd", "NhwcMaxPool"]
    nodes = [helper.make_node(name, ["input"], [name.lower()], domain="com.microsoft") for name in fused]
    nodes.append(helper.make_node("Relu", ["input"], ["output"]))
    with pytest.raises(UnsupportedModel, match="take the file from before the optimization") as caught:
        import_onnx(save(tmp_path / "model.onnx", nodes), name="optimized")
    assert [operator for operator, _ in caught.value.operators] == sorted(f"com.microsoft::{name}" for name in fused)


@pytest.mark.parametrize(("operator", "opset"), [("GroupNormalization", 18), ("LayerNormalization", 14)])
def test_operator_sets_that_onnx_runtime_stretches_are_accepted(tmp_path: Path, operator: str, opset: int) -> None:
    attributes = {"num_groups": 2} if operator == "GroupNormalization" else {}
    node = helper.make_node(operator, ["input", "scale", "bias"], ["output"], **attributes)
    constants = {"scale": np.float32([1, 2]), "bias": np.float32([0, 1])}
    path = save(tmp_path / "model.onnx", [node], constants, shape=(2, 4, 3, 2))
    model = onnx.load(path)
    model.opset_import[0].version = opset
    onnx.save(model, path)
    agreeing(path, (np.random.default_rng(0).standard_normal((2, 4, 3, 2)).astype(np.float32),))


def test_known_operator_in_an_unsupported_form_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Constant", [], ["text"], name="text", value_string="words"),
        helper.make_node("Relu", ["input"], ["output"]),
    ]
    with pytest.raises(UnsupportedModel, match=r"Constant with strings \(text\)"):
        import_onnx(save(tmp_path / "model.onnx", nodes), name="strings")


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x0a\x12\x07", bytes(1000)])
def test_file_that_is_no_model_is_damaged(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(DamagedModel):
        import_onnx(path, name="damaged")


def test_truncated_file_is_damaged(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", [helper.make_node("Relu", ["input"], ["output"])])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedModel):
        import_onnx(path, name="truncated")


def test_missing_file_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DamagedModel, match=r"model\.onnx cannot be read"):
        import_onnx(tmp_path / "model.onnx", name="missing")


def test_cyclic_graph_is_damaged(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["input", "output"], ["sum"]), helper.make_node("Relu", ["sum"], ["output"])]
    with pytest.raises(DamagedModel, match="ONNX specification"):
        import_onnx(save(tmp_path / "model.onnx", nodes), name="cyclic")


def test_wrong_shapes_name_the_node(tmp_path: Path) -> None:
    node = helper.make_node("Reshape", ["constant", "lengths"], ["output"], name="impossible")
    constants = {"constant": np.ones(6, np.float32), "lengths": np.array([4, 4])}
    with pytest.raises(DamagedModel, match="impossible"):
        import_onnx(save(tmp_path / "model.onnx", [node], constants), name="wrong")


def test_constant_of_terabytes_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("ConstantOfShape", ["lengths"], ["output"], name="huge")
    with pytest.raises(DamagedModel, match="huge"):
        import_onnx(save(tmp_path / "model.onnx", [node], {"lengths": np.array([2**20, 2**20])}), name="huge")


def test_tensor_of_an_unknown_type_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "model.onnx", [helper.make_node("Identity", ["words"], ["output"])])
    model = onnx.load(path)
    model.graph.initializer.append(helper.make_tensor("words", TensorProto.STRING, [1], [b"word"]))
    onnx.save(model, path)
    with pytest.raises(DamagedModel, match="STRING"):
        import_onnx(path, name="words")


# External data


def save_external(folder: Path, location: str) -> Path:
    nodes = [helper.make_node("Add", ["input", "weight"], ["output"])]
    path = save(folder / "model.onnx", nodes, {"weight": np.full((1, 3, 2, 2), 5, np.float32)})
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_beside_the_file_is_read(tmp_path: Path) -> None:
    path = save_external(tmp_path, "weights/model.data")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/model.data").write_bytes(np.full(12, 7, np.float32).tobytes())
    (output,) = import_onnx(path, name="external")(torch.zeros(1, 3, 2, 2))
    assert float(output.min()) == 7.0


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "a/../../secret", "C:\\secret", "..\\secret", "link", ""]
)
def test_external_data_outside_of_the_folder_is_refused(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(48))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/link").symlink_to(tmp_path / "secret")
    with pytest.raises(DamagedModel, match="outside of the model's folder"):
        import_onnx(save_external(tmp_path / "model", location), name="escaping")


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DamagedModel, match=r"'weight' are in 'model\.onnx\.data', which is not there"):
        import_onnx(save_external(tmp_path, "model.onnx.data"), name="alone")


def test_external_data_that_is_too_short_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "model.data").write_bytes(bytes(20))
    with pytest.raises(DamagedModel, match="weight"):
        import_onnx(save_external(tmp_path, "model.data"), name="short")

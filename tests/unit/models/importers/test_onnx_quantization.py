"""Quantized networks: the numbers of ONNX Runtime, and the gradient of the network before it was quantized."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx import import_onnx
from tests.unit.models.importers.onnx_texts import imported, run_original, run_reference, write

RANDOM = np.random.default_rng(3)


def pictures(count: int, size: int = 12) -> np.ndarray:
    return RANDOM.standard_normal((count, 3, size, size)).astype(np.float32)


def weights(*shape: int) -> np.ndarray:
    """Weights whose filters differ in size, so that scales by filter matter."""
    sizes = np.geomspace(0.3, 3.0, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return (RANDOM.standard_normal(shape) * sizes * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)


class Pictures(CalibrationDataReader):
    def __init__(self, size: int) -> None:
        self.batches: Iterator[np.ndarray] = iter([pictures(8, size) for _ in range(4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"input": batch}


@pytest.fixture(scope="module")
def float_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parameters = {
        "conv1.weight": weights(8, 3, 3, 3),
        "conv1.bias": weights(8, 1)[:, 0],
        "conv2.weight": weights(8, 8, 3, 3),
        "conv2.bias": weights(8, 1)[:, 0],
        "fc.weight": weights(5, 8),
        "fc.bias": weights(5, 1)[:, 0],
    }
    nodes = [
        helper.make_node("Conv", ["input", "conv1.weight", "conv1.bias"], ["first"], name="conv1", pads=[1] * 4),
        helper.make_node("Relu", ["first"], ["positive"], name="relu1"),
        helper.make_node("MaxPool", ["positive"], ["pooled"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pooled", "conv2.weight", "conv2.bias"], ["second"], name="conv2", pads=[1] * 4),
        helper.make_node("Add", ["second", "pooled"], ["sum"], name="add"),
        helper.make_node("Relu", ["sum"], ["last"], name="relu2"),
        helper.make_node("GlobalAveragePool", ["last"], ["mean"], name="average"),
        helper.make_node("Flatten", ["mean"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["output"], name="fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 12, 12])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(value, name) for name, value in parameters.items()],
    )
    path = tmp_path_factory.mktemp("quantization") / "float.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def quantized(
    source: Path, *, form: QuantFormat, activations: QuantType, size: int = 12, per_channel: bool = True
) -> Path:
    path = source.with_name(f"{form}-{activations}.onnx")
    logging.disable(logging.WARNING)  # that no preparation ran, which would only add shapes
    quantize_static(
        source,
        path,
        Pictures(size),
        quant_format=form,
        per_channel=per_channel,
        activation_type=activations,
        weight_type=QuantType.QInt8,
    )
    logging.disable(logging.NOTSET)
    return path


@pytest.fixture(scope="module", params=[QuantType.QUInt8, QuantType.QInt8, QuantType.QInt16], ids=str)
def qdq_network(request: pytest.FixtureRequest, float_network: Path) -> Path:
    return quantized(float_network, form=QuantFormat.QDQ, activations=request.param)


def input_gradient(graph: ModelGraph, batch: np.ndarray) -> torch.Tensor:
    source = torch.from_numpy(batch).requires_grad_()
    (gradient,) = torch.autograd.grad(graph(source)[0][:, 2].sum(), source)
    return gradient.flatten(1)


def test_a_quantized_network_gives_the_numbers_of_onnx_runtime(qdq_network: Path) -> None:
    batch = pictures(32)
    (ours,) = import_onnx(qdq_network, name="quantized")(torch.from_numpy(batch))
    (theirs,) = run_original(qdq_network, batch)
    difference = np.abs(ours.numpy() - theirs)
    # Both round to the same steps. Sums in another order may fall on the other side of a half, once in ten thousand
    # values or so, and then the output is one of its steps away.
    largest_step = np.diff(np.unique(theirs)).min()
    assert (difference > 1e-6).mean() < 0.02
    assert difference.max() <= 1.01 * max(largest_step, 1e-3 * np.abs(theirs).max())


def test_a_quantized_network_has_the_gradient_of_the_float_network(qdq_network: Path, float_network: Path) -> None:
    batch = pictures(16)
    ours = input_gradient(import_onnx(qdq_network, name="quantized"), batch)
    original = input_gradient(import_onnx(float_network, name="float"), batch)
    similarity = torch.cosine_similarity(ours, original)
    assert similarity.min() > 0.8
    assert similarity.median() > 0.95


def test_convolutions_of_a_quantized_network_have_their_dequantized_filters(
    qdq_network: Path, float_network: Path
) -> None:
    geometry, weight, bias = import_onnx(qdq_network, name="quantized").filters("conv1")
    original = numpy_helper.to_array(onnx.load(float_network).graph.initializer[0])
    steps = np.abs(original).max(axis=(1, 2, 3), keepdims=True) / 127
    assert geometry.padding == ((1, 1), (1, 1))
    assert bias is not None
    assert (np.abs(weight.numpy() - original) <= 0.501 * steps).all()
    assert not np.array_equal(weight.numpy(), original)


def test_operators_of_other_domains_are_refused_by_name(float_network: Path) -> None:
    path = quantized(float_network, form=QuantFormat.QOperator, activations=QuantType.QUInt8)
    with pytest.raises(UnsupportedModel, match=r"com\.microsoft::QLinearAdd"):
        import_onnx(path, name="quantized")


NAMED = """(float[1, 1, 4, 4] x) => (float[1, 2, 3, 3] y) <float scale = {0.1}, int8 zero = {0}, float[2, 1, 2, 2] w = {
1, 2, 3, 4, 5, 6, 7, 8}> { c = Conv (x, w) q = QuantizeLinear (c, scale, zero) d = DequantizeLinear (q, scale, zero)
s = Sigmoid (d) r = QuantizeLinear (s, scale, zero) e = DequantizeLinear (r, scale, zero) t = Exp (e) y = Neg (t) }"""
SCOPES = {"c": "stem.conv", "s": "stem.act", "t": "head.act", "y": "head.flip"}


def test_quantization_leaves_the_layers_their_names(tmp_path: Path) -> None:
    path = write(tmp_path, NAMED)
    model = onnx.load(path)
    for node in model.graph.node:
        scope = SCOPES.get(node.output[0])
        if scope is not None:
            parts = ["", scope.partition(".")[0], scope, node.output[0]]
            node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=str(parts))
    onnx.save(model, path)
    graph = import_onnx(path, name="named")
    tensors = {node.name: node.meta.get("onnx_output") for node in graph.module.graph.nodes}
    named = {name: tensors[layer.node] for name, layer in graph.layers.items()}
    assert {name: named.get(name) for name in ("stem.conv", "stem.act", "stem", "head.act", "head")} == {
        "stem.conv": "d",
        "stem.act": "e",
        "stem": "e",
        "head.act": "t",
        "head": "y",
    }
    assert graph.layer("stem.conv").filters is not None


@pytest.mark.parametrize("file", ["model.onnx", "model_opset11.onnx"])
def test_a_quantized_file_has_each_module_once(trained_networks: Path, tmp_path: Path, file: str) -> None:
    source = tmp_path / file
    source.write_bytes((trained_networks / "cifar_resnet20" / file).read_bytes())
    path = quantized(
        source,
        form=QuantFormat.QDQ,
        activations=QuantType.QUInt8,
        size=32,
        per_channel=file == "model.onnx",  # scales along an axis came with operator set 13
    )
    before, after = (import_onnx(model, name="network") for model in (source, path))
    assert set(after.layers) <= set(before.layers)
    # ONNX Runtime leaves out rectifiers, which the range of what follows implies, and so what they were added to.
    lost = {name.rsplit(".", 1)[-1].split("_")[0].lower() for name in set(before.layers) - set(after.layers)}
    assert lost == {"relu1", "relu2", "add"}
    assert [before.layer(name).kind for name in after.layers] == [layer.kind for layer in after.layers.values()]
    assert [before.layer(name).filters for name in after.layers] == [row.filters for row in after.layers.values()]


FAKE = """(float[N] x) => (float[N] y) <float scale = {{0.5}}, {kind} zero = {{{zero}}}>
{{ q = QuantizeLinear (x, scale, zero) y = DequantizeLinear (q, scale, zero) }}"""


@pytest.mark.parametrize(
    ("kind", "zero", "low", "high"), [("uint8", 10, 0, 255), ("int8", -3, -128, 127), ("uint16", 9, 0, 65535)]
)
def test_the_gradient_is_the_identity_where_nothing_is_clipped(
    tmp_path: Path, kind: str, zero: int, low: int, high: int
) -> None:
    graph = imported(tmp_path, FAKE.format(kind=kind, zero=zero))
    limits = [(low - zero) * 0.5, (high - zero) * 0.5]
    values = [limits[0] - 1, limits[0] + 0.2, -0.25, 0.25, 0.75, 1.3, limits[1] - 0.2, limits[1] + 1]
    source = torch.tensor(values, requires_grad=True)
    (result,) = graph(source)
    (gradient,) = torch.autograd.grad(result.sum(), source)
    # Halves go to the even number of steps: -0.25, 0.25 and 0.75 are -0.5, 0.5 and 1.5 steps.
    assert result.tolist() == [limits[0], limits[0], 0.0, 0.0, 1.0, 1.5, limits[1], limits[1]]
    assert gradient.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]


def test_the_gradient_passes_what_stands_between_quantization_and_dequantization(tmp_path: Path) -> None:
    text = """(float[1, 2, 4] x) => (float[8] y) <float scale = {0.1}, int8 zero = {0}, int64[1] all = {-1}>
    { q = QuantizeLinear (x, scale, zero) p = MaxPool <kernel_shape = [2]> (q) t = Transpose <perm = [0, 2, 1]> (p)
      c = Concat <axis = 2> (t, t) r = Reshape (c, all) y = DequantizeLinear (r, scale, zero) }"""
    graph = imported(tmp_path, text.replace("[8] y", "[N] y"))
    source = torch.tensor([[[0.1, 0.5, 0.2, 0.3], [0.9, 0.8, 0.7, 0.6]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(graph(source)[0].sum(), source)
    assert gradient.tolist() == [[[0.0, 4.0, 0.0, 2.0], [2.0, 2.0, 2.0, 0.0]]]


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int4", "uint4"])
def test_quantized_outputs_are_integers_of_their_type(tmp_path: Path, kind: str) -> None:
    text = f"""(float[N] x) => ({kind}[N] y) <float scale = {{0.1}}, {kind} zero = {{3}}>
    {{ y = QuantizeLinear (x, scale, zero) }}"""
    values = np.linspace(-20, 20, 41, dtype=np.float32)
    (ours,) = imported(tmp_path, text)(torch.from_numpy(values))
    (theirs,) = run_reference(tmp_path / "model.onnx", values)
    assert not ours.is_floating_point()
    np.testing.assert_array_equal(ours.numpy().astype(int), theirs.astype(int))


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [("[3]", "axis = 1"), ("[3]", "axis = -2"), ("[2, 3, 2]", "axis = 2, block_size = 3")],
    ids=["by axis", "by axis from the end", "by block that the axis does not fill"],
)
def test_scales_go_along_an_axis(tmp_path: Path, shape: str, attributes: str) -> None:
    count = 3 if shape == "[3]" else 12
    scales = ", ".join(f"{0.05 * (index + 1):.2f}" for index in range(count))
    zeros = ", ".join(str(index) for index in range(count))
    text = f"""(float[2, 3, 5] x) => (float[2, 3, 5] y)
    <float{shape} scale = {{{scales}}}, int8{shape} zero = {{{zeros}}}>
    {{ q = QuantizeLinear <{attributes}> (x, scale, zero) y = DequantizeLinear <{attributes}> (q, scale, zero) }}"""
    values = RANDOM.standard_normal((2, 3, 5)).astype(np.float32)
    (ours,) = imported(tmp_path, text)(torch.from_numpy(values))
    (theirs,) = run_reference(tmp_path / "model.onnx", values)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6)


def test_weights_that_the_file_quantizes_itself_are_folded(tmp_path: Path) -> None:
    text = """(float[1, 1, 3, 3] x) => (float[1, 1, 2, 2] y)
    <float[1, 1, 2, 2] w = {0.14, -0.26, 9.0, 0.06}, float scale = {0.1}, int8 zero = {0}>
    { q = QuantizeLinear (w, scale, zero) d = DequantizeLinear (q, scale, zero) y = Conv (x, d) }"""
    graph = imported(tmp_path, text)
    _, weight, _ = graph.filters("y")
    np.testing.assert_allclose(weight.flatten().numpy(), [0.1, -0.3, 9.0, 0.1], rtol=1e-6)
    assert [layer.kind for layer in graph.layers.values()] == ["convolution"]


DYNAMIC = """(float[N, 16] x) => (float[N, 4] y) <int8[16, 4] weight = {weight}, float step = {{0.02}}>
{{ q, scale, zero = DynamicQuantizeLinear (x) sums = MatMulInteger (q, weight, zero) numbers = Cast <to = 1> (sums)
  both = Mul (scale, step) y = Mul (numbers, both) }}"""


def test_a_dynamically_quantized_product_has_numbers_and_gradient(tmp_path: Path) -> None:
    weight = RANDOM.integers(-127, 128, (16, 4))
    listed = "{" + ", ".join(str(number) for number in weight.flatten()) + "}"
    path = write(tmp_path, DYNAMIC.format(weight=listed))
    values = RANDOM.standard_normal((3, 16)).astype(np.float32)
    source = torch.from_numpy(values).requires_grad_()
    (ours,) = import_onnx(path, name="dynamic")(source)
    np.testing.assert_allclose(ours.detach().numpy(), run_original(path, values)[0], rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(ours[:, 1].sum(), source)
    expected = torch.from_numpy(weight[:, 1] * 0.02).float().expand(3, 16)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


QLINEAR = """(uint8[1, 2, 6, 6] x) => (uint8[1, 3, H, W] y)
<float x_scale = {{0.02}}, uint8 x_zero = {{120}}, int8[3, 2, 3, 3] weight = {weight},
 float[3] w_scale = {{0.01, 0.02, 0.03}}, int8[3] w_zero = {{0, 0, 0}},
 float y_scale = {{0.04}}, uint8 y_zero = {{101}}, int32[3] bias = {{500, -700, 900}}>
{{ y = QLinearConv <pads = [1, 0, 1, 2], strides = [2, 1]>
      (x, x_scale, x_zero, weight, w_scale, w_zero, y_scale, y_zero, bias) }}"""


def test_a_quantized_convolution_has_numbers_filters_and_gradient(tmp_path: Path) -> None:
    weight = RANDOM.integers(-127, 128, (3, 2, 3, 3))
    path = write(tmp_path, QLINEAR.format(weight="{" + ", ".join(map(str, weight.flatten())) + "}"))
    values = RANDOM.integers(0, 256, (1, 2, 6, 6)).astype(np.uint8)
    graph = import_onnx(path, name="quantized")
    (ours,) = graph(torch.from_numpy(values))
    (theirs,) = run_original(path, values)
    assert ours.dtype == torch.uint8
    np.testing.assert_array_equal(ours.numpy(), theirs)
    (layer,) = [row.name for row in graph.layers.values() if row.kind == "convolution"]
    _, filters, bias = graph.filters(layer)
    scales = np.array([0.01, 0.02, 0.03])
    np.testing.assert_allclose(filters.numpy(), weight * scales.reshape(3, 1, 1, 1), rtol=1e-5)
    assert bias is not None
    np.testing.assert_allclose(bias.numpy(), [500, -700, 900] * scales * 0.02, rtol=1e-5)
    source = torch.from_numpy(values).float().requires_grad_()
    (gradient,) = torch.autograd.grad(graph.cut([layer])(source)[layer].sum(), source)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("operator", ["MatMulInteger", "ConvInteger"])
def test_sums_of_integers_are_exact_below_the_precision_of_float32(tmp_path: Path, operator: str) -> None:
    shapes = ((4, 8), (8, 5)) if operator == "MatMulInteger" else ((1, 2, 5, 5), (3, 2, 2, 2))
    first, second = (RANDOM.integers(-128, 128, shape).astype(np.int8) for shape in shapes)
    listed = [str(list(shape)) for shape in shapes]
    text = f"""(int8{listed[0]} x, int8{listed[1]} w) => (int32[...] y) <int8 zero = {{7}}, int8 other = {{-5}}>
    {{ y = {operator} (x, w, zero, other) }}"""
    (ours,) = imported(tmp_path, text.replace("int32[...] y", "int32 y"))(*map(torch.from_numpy, (first, second)))
    (theirs,) = run_reference(tmp_path / "model.onnx", first, second)
    assert ours.dtype == torch.int32
    np.testing.assert_array_equal(ours.numpy(), theirs)


def test_a_type_that_cannot_be_quantized_to_is_refused(tmp_path: Path) -> None:
    text = """(float[N] x) => (y) <float scale = {1.0}> { y = QuantizeLinear <output_dtype = 1> (x, scale) }"""
    with pytest.raises(UnsupportedModel, match="QuantizeLinear with the element type FLOAT"):
        imported(tmp_path, text.replace("(y)", "(float[N] y)"))

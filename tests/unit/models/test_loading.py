import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from phosphene_server.errors import DamagedModel, ModelUnusable
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.models.loading import load_model
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import ModelReference, PixelGrid, Preprocessing, ReceptiveField
from phosphene_server.values.work import ModelSource

CPU = torch.device("cpu")


def write_classifier(path: Path, *, pooled: bool = True, softmax: bool = False) -> Path:
    """Conv (8, 3, 3, 3) -> mean or flatten -> fc (5 classes) -> softmax, as an ONNX file for pictures of 8 by 8."""
    numbers = np.random.default_rng(0)
    features = 8 if pooled else 8 * 6 * 6
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["features"], "conv"),
        helper.make_node("GlobalAveragePool" if pooled else "Identity", ["features"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "fc.weight"], ["logits"], "fc", transB=1),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], "softmax"))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["n", 5])],
        [
            numpy_helper.from_array(numbers.standard_normal((8, 3, 3, 3), dtype=np.float32), "conv.weight"),
            numpy_helper.from_array(numbers.standard_normal((5, features), dtype=np.float32), "fc.weight"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def load(path: Path, *, size: int = 8, **options: object) -> LoadedModel:
    given = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "labels": (), "logits_layer": "", **options}
    preprocessing = Preprocessing("rgb", 0.0, 1.0, (0.5,) * 3, (0.25,) * 3, ImageSize(size, size), False)
    reference = ModelReference("tiny", "1", "onnx")
    source = ModelSource(
        reference=reference,
        path=path,
        size_bytes=path.stat().st_size,
        description="",
        preprocessing=preprocessing,
        **given,  # type: ignore[arg-type]  # the three that tests choose
    )
    return load_model(source, CPU)


def test_the_table_tells_shapes_filters_and_parameters(tmp_path):
    rows = {row.name: row for row in load(write_classifier(tmp_path / "model.onnx")).model.layers}
    assert rows["conv"].shape == (8, 6, 6)
    assert rows["conv"].filter_shape == (8, 3, 3, 3)
    assert (rows["conv"].parameter_count, rows["fc"].parameter_count) == (8 * 27, 40)


def test_the_table_tells_what_a_layer_sees_and_costs(tmp_path):
    model = load(write_classifier(tmp_path / "model.onnx")).model
    rows = {row.name: row for row in model.layers}
    assert rows["conv"].receptive_field == ReceptiveField(3, 3, False, PixelGrid(1.0, 1.0, 1.0, 1.0))
    assert rows["fc"].receptive_field == ReceptiveField(8, 8, True, None)
    assert (rows["conv"].multiply_accumulates, rows["fc"].multiply_accumulates) == (8 * 27 * 36, 40)
    assert model.multiply_accumulates == 8 * 27 * 36 + 40
    assert all(row.gradient_reaches_input for row in model.layers)


def test_the_logits_are_what_a_final_softmax_reads(tmp_path):
    assert load(write_classifier(tmp_path / "model.onnx", softmax=True)).model.logits_layer == "fc"


def test_a_network_that_pools_takes_pictures_of_any_size(tmp_path):
    assert not load(write_classifier(tmp_path / "model.onnx")).model.preprocessing.fixed_size


def test_a_network_that_flattens_is_found_to_take_one_size_only(tmp_path):
    model = load(write_classifier(tmp_path / "model.onnx", pooled=False)).model
    assert model.preprocessing.fixed_size


def test_a_size_that_the_network_cannot_take_is_told(tmp_path):
    with pytest.raises(ModelUnusable, match=r"\(3, 12, 12\)"):
        load(write_classifier(tmp_path / "model.onnx", pooled=False), size=12)


def test_parity_is_measured(tmp_path):
    parity = load(write_classifier(tmp_path / "model.onnx")).model.parity
    assert parity is not None
    assert parity.input_shape == (1, 3, 8, 8)
    assert parity.largest_deviation < 1e-5 * parity.output_scale


def test_a_file_that_changed_after_it_was_listed_is_refused(tmp_path):
    with pytest.raises(DamagedModel, match="changed"):
        load(write_classifier(tmp_path / "model.onnx"), sha256="0" * 64)


def test_labels_that_do_not_fit_the_logits_are_refused(tmp_path):
    with pytest.raises(DamagedModel, match="2 names for the 5 logits"):
        load(write_classifier(tmp_path / "model.onnx"), labels=("cat", "dog"))

"""Tensors that a file makes from numbers."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from phosphene_server.errors import PhospheneError, UnsupportedModel
from phosphene_server.models.importers.onnx import import_onnx
from tests.unit.models.importers.onnx_texts import imported, run_original


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("value_float = 1.5", 1.5),
        ("value_floats = [1.5, 2.5]", [1.5, 2.5]),
        ("value_int = 3", 3),
        ("value_ints = [3, 4]", [3, 4]),
    ],
)
def test_constants_can_be_numbers(tmp_path: Path, attribute: str, expected: object) -> None:
    kind = "float" if "float" in attribute else "int64"
    shape = "[2]" if "s =" in attribute else ""
    graph = imported(tmp_path, f"(float[N] x) => ({kind}{shape} y) {{ y = Constant <{attribute}> () }}")
    assert graph(torch.zeros(1))[0].tolist() == expected


def test_strings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="Constant with strings"):
        imported(tmp_path, '(float[N] x) => (string y) { y = Constant <value_string = "a"> () }')


def sparse_constant(path: Path, dims: list[int]) -> Path:
    values = helper.make_tensor("values", TensorProto.FLOAT, [2], [3.0, 4.0])
    indices = helper.make_tensor("indices", TensorProto.INT64, [2, 2], [0, 1, 1, 2])
    node = helper.make_node("Constant", [], ["y"], sparse_value=helper.make_sparse_tensor(values, indices, dims))
    graph = helper.make_graph(
        [node],
        "sparse",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, dims)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def test_sparse_constants_are_dense_in_the_graph(tmp_path: Path) -> None:
    graph = import_onnx(sparse_constant(tmp_path / "sparse.onnx", [2, 3]), name="sparse")
    assert graph(torch.zeros(1))[0].tolist() == [[0.0, 3.0, 0.0], [0.0, 0.0, 4.0]]


def test_sparse_constants_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PhospheneError):
        import_onnx(sparse_constant(tmp_path / "sparse.onnx", [2**30, 2**30]), name="sparse")


@pytest.mark.parametrize("offset", [-2, 0, 1, 9])
def test_ones_stand_on_the_diagonal_that_is_asked_for(tmp_path: Path, offset: int) -> None:
    text = f"(float[N, M] x) => (float[N, M] y) {{ y = EyeLike <k = {offset}> (x) }}"
    (ours,) = imported(tmp_path, text)(torch.zeros(3, 5))
    assert ours.tolist() == np.eye(3, 5, offset).tolist()


@pytest.mark.parametrize("kind", ["int32", "int64", "float"])
def test_ranges_have_the_type_of_their_start(tmp_path: Path, kind: str) -> None:
    text = f"({kind} start, {kind} limit, {kind} step) => ({kind}[N] y) {{ y = Range (start, limit, step) }}"
    inputs = [np.array(number, "float32" if kind == "float" else kind) for number in (2, 11, 3)]
    (ours,) = imported(tmp_path, text)(*map(torch.from_numpy, inputs))
    (theirs,) = run_original(tmp_path / "model.onnx", *inputs)
    assert ours.numpy().dtype == theirs.dtype
    assert ours.tolist() == theirs.tolist()

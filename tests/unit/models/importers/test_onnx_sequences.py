"""Sequences, optional values and sparse tensors."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

from phosphene_server.errors import DamagedModel
from phosphene_server.models.importers.onnx import import_onnx
from tests.unit.models.importers.onnx_files import INTEGER, agreeing, subgraph, value, write

DATA = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def number(given: int) -> np.ndarray:
    return np.array(given, np.int64)


PARTS = [
    helper.make_node("SplitToSequence", ["input", "length"], ["parts"], axis=0),
    helper.make_node("SequenceInsert", ["parts", "input", "place"], ["more"]),
    helper.make_node("SequenceErase", ["more", "last"], ["fewer"]),
    helper.make_node("SequenceAt", ["fewer", "place"], ["one"]),
    helper.make_node("ConcatFromSequence", ["fewer"], ["joined"], axis=0),
    helper.make_node("Transpose", ["joined"], ["turned"]),
    helper.make_node("MatMul", ["one", "turned"], ["output"]),
]


def sequences(folder: Path, nodes: list[NodeProto], *, place: int | None) -> Path:
    constants = {"length": number(2), "last": number(-1)} | ({} if place is None else {"place": number(place)})
    inputs = [value("input", [4, 3]), *([value("place", [], INTEGER)] if place is None else [])]
    return write(folder / "model.onnx", subgraph(nodes, inputs, [value("output")], constants))


@pytest.mark.parametrize("place", [0, 1])
def test_sequence_with_known_positions_agrees_with_onnx_runtime(tmp_path: Path, place: int) -> None:
    agreeing(sequences(tmp_path, PARTS, place=place), (DATA,))


def test_sequence_with_computed_positions_agrees_with_onnx_runtime(tmp_path: Path) -> None:
    graph = agreeing(sequences(tmp_path, PARTS, place=None), (DATA, number(0)), (DATA, number(1)))
    graph.to(dtype=torch.float64)
    source = torch.from_numpy(DATA).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda tensor: graph(tensor, torch.tensor(1))[0], (source,))


def test_sequence_that_is_built_from_constants_needs_no_node(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("SequenceConstruct", ["input", "input"], ["pair"]),
        helper.make_node("SequenceLength", ["pair"], ["count"]),
        helper.make_node("Cast", ["count"], ["factor"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["input", "factor"], ["output"]),
    ]
    graph = agreeing(sequences(tmp_path, nodes, place=0), (DATA,))
    assert [node.op for node in graph.module.graph.nodes].count("call_function") == 1


def test_loop_carries_a_sequence(tmp_path: Path) -> None:
    sequence = helper.make_tensor_sequence_value_info
    body = subgraph(
        [
            helper.make_node("Cast", ["round"], ["factor"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["input", "factor"], ["scaled"]),
            helper.make_node("SequenceInsert", ["items", "scaled"], ["items_out"]),
            helper.make_node("Identity", ["going"], ["still"]),
        ],
        [value("round", [], INTEGER), value("going", [], TensorProto.BOOL), sequence("items", TensorProto.FLOAT, None)],
        [value("still", [], TensorProto.BOOL), sequence("items_out", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("SequenceEmpty", [], ["empty"]),
        helper.make_node("Loop", ["place", "", "empty"], ["items_all"], body=body),
        helper.make_node("ConcatFromSequence", ["items_all"], ["output"], axis=0, new_axis=1),
    ]
    agreeing(sequences(tmp_path, nodes, place=None), (DATA, number(1)), (DATA, number(3)))


def sparse_model(folder: Path, indices: list[int] | list[list[int]]) -> Path:
    values = numpy_helper.from_array(np.array([2, 3], np.float32), "weight")
    places = numpy_helper.from_array(np.array(indices, np.int64), "places")
    graph = subgraph(
        [helper.make_node("Add", ["input", "weight"], ["output"])], [value("input", [4, 3])], [value("output")]
    )
    graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4, 3]))
    return write(folder / "model.onnx", graph)


@pytest.mark.parametrize("indices", [[1, 7], [[0, 1], [2, 1]]])
def test_sparse_weight_is_dense_in_the_graph(tmp_path: Path, indices: list[int] | list[list[int]]) -> None:
    (output,) = import_onnx(sparse_model(tmp_path, indices), name="sparse")(torch.zeros(4, 3))
    expected = torch.zeros(4, 3)
    expected[0, 1], expected[2, 1] = 2, 3
    torch.testing.assert_close(output, expected)


def test_sparse_tensor_of_terabytes_is_refused(tmp_path: Path) -> None:
    path = sparse_model(tmp_path, [1, 7])
    model = onnx.load(path)
    model.graph.sparse_initializer[0].dims[:] = [2**20, 2**20]
    onnx.save(model, path)
    with pytest.raises(DamagedModel, match="weight"):
        import_onnx(path, name="huge")

"""Nodes that only an evaluation can translate."""

import copy
from pathlib import Path

import numpy as np
import torch
from onnx import helper

from phosphene_server.models.importers.onnx import import_onnx
from phosphene_server.models.importers.onnx.late import MAXIMUM_GRAPHS, LateOperation
from tests.unit.models.importers.onnx_files import INTEGER, agreeing, subgraph, value, write

DATA = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def sum_over_computed_axes(folder: Path) -> Path:
    nodes = [
        helper.make_node("ReduceSum", ["input", "axes"], ["sum"], keepdims=0),
        helper.make_node("Sigmoid", ["sum"], ["output"]),
    ]
    inputs = [value("input", [None, 3, 4]), value("axes", [None], INTEGER)]
    return write(folder / "model.onnx", subgraph(nodes, inputs, [value("output")]))


def late_operation(path: Path) -> LateOperation:
    graph = import_onnx(path, name="late")
    return next(node.target for node in graph.module.graph.nodes if isinstance(node.target, LateOperation))


def test_axes_that_are_an_input_agree_with_onnx_runtime(tmp_path: Path) -> None:
    cases = [(DATA, numbers(*axes)) for axes in ([0], [1, 2], [-1], [0, 1, 2])]
    agreeing(sum_over_computed_axes(tmp_path), *cases)


def test_input_of_unknown_rank_agrees_with_onnx_runtime(tmp_path: Path) -> None:
    nodes = [helper.make_node("Transpose", ["input"], ["turned"]), helper.make_node("Shape", ["turned"], ["output"])]
    graph = subgraph(nodes, [value("input")], [value("output", None, INTEGER)])
    agreeing(write(tmp_path / "model.onnx", graph), (DATA,), (DATA[0],))


def test_gradient_passes_a_late_node(tmp_path: Path) -> None:
    graph = import_onnx(sum_over_computed_axes(tmp_path), name="late").to(dtype=torch.float64)
    source = torch.from_numpy(DATA).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda tensor: graph(tensor, torch.tensor([1]))[0], (source,))


def test_late_layer_can_be_cut(tmp_path: Path) -> None:
    graph = import_onnx(sum_over_computed_axes(tmp_path), name="late")
    (result,) = graph.cut(["sum"])(torch.from_numpy(DATA), torch.tensor([2])).values()
    torch.testing.assert_close(result, torch.from_numpy(DATA).sum(2))


def test_copy_of_a_graph_has_its_late_nodes(tmp_path: Path) -> None:
    graph = import_onnx(sum_over_computed_axes(tmp_path), name="late")
    inputs = (torch.from_numpy(DATA), torch.tensor([0]))
    torch.testing.assert_close(copy.deepcopy(graph.module)(*inputs)[0], graph(*inputs)[0])


def test_node_is_translated_once_for_the_same_numbers_and_shapes(tmp_path: Path) -> None:
    late = late_operation(sum_over_computed_axes(tmp_path))
    for _ in range(3):
        late(torch.zeros(()), torch.from_numpy(DATA), torch.tensor([1]))
    assert len(late._graphs) == 1


def test_only_so_many_translations_are_kept(tmp_path: Path) -> None:
    late = late_operation(sum_over_computed_axes(tmp_path))
    for batch in range(1, MAXIMUM_GRAPHS + 8):
        late(torch.zeros(()), torch.zeros(batch, 3, 4), torch.tensor([1]))
    assert len(late._graphs) == MAXIMUM_GRAPHS


def test_known_axes_need_no_late_node(tmp_path: Path) -> None:
    graph = subgraph(
        [helper.make_node("ReduceSum", ["input", "axes"], ["output"])],
        [value("input", [None, 3, 4])],
        [value("output")],
        {"axes": numbers(1)},
    )
    imported = import_onnx(write(tmp_path / "model.onnx", graph), name="known")
    assert not any(isinstance(node.target, LateOperation) for node in imported.module.graph.nodes)

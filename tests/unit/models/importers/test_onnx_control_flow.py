"""If, Loop and Scan against ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import GraphProto, helper

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx import import_onnx
from phosphene_server.models.importers.onnx.operators import rounds
from tests.unit.models.importers.onnx_files import FLOAT, INTEGER, TRUTH, agreeing, subgraph, value, write

RANDOM = np.random.default_rng(0)
DATA = RANDOM.standard_normal((2, 3)).astype(np.float32)
WEIGHT = RANDOM.standard_normal((3, 3)).astype(np.float32)


def whole(number: int) -> np.ndarray:
    return np.array(number, np.int64)


def truth(given: bool) -> np.ndarray:
    return np.array(given)


def branches() -> tuple[GraphProto, GraphProto]:
    """Two branches that read `shifted`, a value of the graph around them."""
    then_branch = subgraph(
        [helper.make_node("MatMul", ["shifted", "weight"], ["product"], name="product")],
        [],
        [value("product")],
        {"weight": WEIGHT},
    )
    else_branch = subgraph([helper.make_node("Tanh", ["shifted"], ["bent"], name="bent")], [], [value("bent")])
    return then_branch, else_branch


def conditional(folder: Path, *, known: bool | None) -> Path:
    then_branch, else_branch = branches()
    nodes = [
        helper.make_node("Add", ["input", "one"], ["shifted"], name="shifted"),
        helper.make_node("If", ["condition"], ["chosen"], name="if", then_branch=then_branch, else_branch=else_branch),
        helper.make_node("Sigmoid", ["chosen"], ["output"], name="output"),
    ]
    constants = {"one": np.ones(1, np.float32)} | ({} if known is None else {"condition": truth(known)})
    inputs = [value("input", ["batch", 3]), *([value("condition", [], TRUTH)] if known is None else [])]
    return write(folder / "model.onnx", subgraph(nodes, inputs, [value("output")], constants))


def doubles(graph: ModelGraph, *others: torch.Tensor) -> bool:
    """Whether the input gradient of the first output agrees with finite differences in float64."""
    graph.to(dtype=torch.float64)
    source = torch.from_numpy(DATA).double().requires_grad_()
    return torch.autograd.gradcheck(lambda tensor: graph(tensor, *others)[0], (source,))


@pytest.mark.parametrize("known", [True, False])
def test_branch_of_a_known_condition_is_a_part_of_the_graph(tmp_path: Path, known: bool) -> None:
    graph = agreeing(conditional(tmp_path, known=known), (DATA,))
    chosen, other = ("product", "bent") if known else ("bent", "product")
    assert list(graph.layers) == ["shifted", chosen, "output"]
    assert other not in graph.layers
    assert doubles(graph)


def test_condition_that_is_computed_chooses_at_every_evaluation(tmp_path: Path) -> None:
    graph = agreeing(conditional(tmp_path, known=None), (DATA, truth(True)), (DATA, truth(False)))
    assert list(graph.layers) == ["shifted", "if", "output"]
    assert doubles(graph, torch.tensor(True))
    assert doubles(graph, torch.tensor(False))


def test_parameters_of_branches_belong_to_the_layer(tmp_path: Path) -> None:
    graph = import_onnx(conditional(tmp_path, known=None), name="if")
    (target,) = graph.layers["if"].parameters
    np.testing.assert_array_equal(np.sort(graph.tensor(target).numpy(), axis=None), np.sort(WEIGHT, axis=None))


def test_layer_behind_a_branch_can_be_cut(tmp_path: Path) -> None:
    graph = import_onnx(conditional(tmp_path, known=None), name="if").to(dtype=torch.float64)
    inputs = torch.from_numpy(DATA).double(), torch.tensor(True)
    (result,) = graph.cut(["if"])(*inputs).values()
    torch.testing.assert_close(result, (inputs[0] + 1) @ torch.from_numpy(WEIGHT).double())


def test_branch_within_a_branch_reads_the_outermost_graph(tmp_path: Path) -> None:
    then_branch, else_branch = branches()
    inner = helper.make_node("If", ["second"], ["inner"], then_branch=then_branch, else_branch=else_branch)
    outer = subgraph([helper.make_node("Neg", ["shifted"], ["negative"])], [], [value("negative")])
    nodes = [
        helper.make_node("Relu", ["input"], ["shifted"]),
        helper.make_node(
            "If", ["first"], ["output"], then_branch=subgraph([inner], [], [value("inner")]), else_branch=outer
        ),
    ]
    inputs = [value("input", ["batch", 3]), value("first", [], TRUTH), value("second", [], TRUTH)]
    path = write(tmp_path / "model.onnx", subgraph(nodes, inputs, [value("output")]))
    agreeing(path, *[(DATA, truth(first), truth(second)) for first in (True, False) for second in (True, False)])


def loop(folder: Path, nodes: list[onnx.NodeProto], *, trips: bool = True) -> Path:
    """A loop that carries `state`, collects `collected`, and reads `shifted` around it."""
    body = subgraph(
        nodes,
        [value("round", [], INTEGER), value("going", [], TRUTH), value("state")],
        [value("still", [], TRUTH), value("next"), value("collected")],
        {"half": np.array(0.5, np.float32), "limit": np.array(3.0, np.float32), "weight": WEIGHT},
    )
    around = [
        helper.make_node("Add", ["input", "input"], ["shifted"]),
        helper.make_node("Loop", ["trips" if trips else "", "", "input"], ["output", "all"], name="loop", body=body),
    ]
    inputs = [value("input", ["batch", 3]), *([value("trips", [], INTEGER)] if trips else [])]
    return write(folder / "model.onnx", subgraph(around, inputs, [value("output"), value("all")]))


STEP = [
    helper.make_node("MatMul", ["state", "weight"], ["product"]),
    helper.make_node("Mul", ["product", "half"], ["smaller"]),
    helper.make_node("Tanh", ["smaller"], ["bent"]),
    helper.make_node("Add", ["bent", "shifted"], ["next"]),
    helper.make_node("Identity", ["next"], ["collected"]),
]
COUNTED = [*STEP, helper.make_node("Identity", ["going"], ["still"])]
"""A body that goes on as long as it may."""


def test_loop_agrees_with_onnx_runtime_for_any_number_of_rounds(tmp_path: Path) -> None:
    graph = agreeing(loop(tmp_path, COUNTED), (DATA, whole(1)), (DATA, whole(4)))
    assert doubles(graph, torch.tensor(3))


def test_loop_of_no_rounds_collects_nothing(tmp_path: Path) -> None:
    output, collected = import_onnx(loop(tmp_path, COUNTED), name="loop")(torch.from_numpy(DATA), torch.tensor(0))
    torch.testing.assert_close(output, torch.from_numpy(DATA))
    assert collected.shape[0] == 0


def test_loop_ends_where_its_condition_says(tmp_path: Path) -> None:
    condition = [
        helper.make_node("ReduceMax", ["next"], ["largest"], keepdims=0),
        helper.make_node("Less", ["largest", "limit"], ["still"]),
    ]
    growing = [
        helper.make_node("Add", ["state", "half"], ["next"]),
        helper.make_node("Mul", ["next", "shifted"], ["collected"]),
        *condition,
    ]
    graph = agreeing(loop(tmp_path, growing, trips=False), (DATA,))
    _, collected = graph(torch.from_numpy(DATA))
    assert collected.shape[0] == int(np.ceil((3 - DATA.max()) / 0.5))


def test_endless_loop_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "MAXIMUM_ROUNDS", 50)
    graph = import_onnx(loop(tmp_path, COUNTED, trips=False), name="endless")
    with pytest.raises(UnsupportedModel, match=r"a loop with more than 50 rounds \(loop\)"):
        graph(torch.from_numpy(DATA))


def test_loop_that_grows_without_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "MAXIMUM_ELEMENTS", 1000)
    growing = [
        helper.make_node("Concat", ["state", "state"], ["next"], axis=0),
        helper.make_node("ReduceMax", ["next"], ["collected"]),
        helper.make_node("Identity", ["going"], ["still"]),
    ]
    graph = import_onnx(loop(tmp_path, growing, trips=False), name="growing")
    with pytest.raises(UnsupportedModel, match="more than 1000 elements"):
        graph(torch.from_numpy(DATA))


def test_loops_within_a_loop_share_its_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "MAXIMUM_ROUNDS", 20)
    inner = subgraph(
        [helper.make_node("Identity", ["on"], ["on_out"]), helper.make_node("Neg", ["turned"], ["turned_out"])],
        [value("inner_round", [], INTEGER), value("on", [], TRUTH), value("turned")],
        [value("on_out", [], TRUTH), value("turned_out")],
    )
    nodes = [
        helper.make_node("Loop", ["trips", "", "state"], ["next"], name="inner", body=inner),
        helper.make_node("Identity", ["next"], ["collected"]),
        helper.make_node("Identity", ["going"], ["still"]),
    ]
    graph = import_onnx(loop(tmp_path, nodes), name="nested")
    graph(torch.from_numpy(DATA), torch.tensor(3))
    with pytest.raises(UnsupportedModel, match=r"\(inner\)|\(loop\)"):
        graph(torch.from_numpy(DATA), torch.tensor(10))


def test_loop_over_constants_is_evaluated_at_import(tmp_path: Path) -> None:
    body = subgraph(
        [helper.make_node("Identity", ["going"], ["still"]), helper.make_node("Add", ["state", "state"], ["next"])],
        [value("round", [], INTEGER), value("going", [], TRUTH), value("state", [])],
        [value("still", [], TRUTH), value("next", [])],
    )
    nodes = [
        helper.make_node("Loop", ["trips", "", "one"], ["eight"], body=body),
        helper.make_node("Mul", ["input", "eight"], ["output"]),
    ]
    constants = {"trips": whole(3), "one": np.array(1, np.float32)}
    graph = subgraph(nodes, [value("input", ["batch", 3])], [value("output")], constants)
    imported = agreeing(write(tmp_path / "model.onnx", graph), (DATA,))
    assert not any(node.op == "call_module" for node in imported.module.graph.nodes)


@pytest.mark.parametrize("backwards", [0, 1])
def test_scan_agrees_with_onnx_runtime(tmp_path: Path, backwards: int) -> None:
    body = subgraph(
        [
            helper.make_node("Add", ["state", "slice"], ["sum"]),
            helper.make_node("Tanh", ["sum"], ["next"]),
            helper.make_node("Mul", ["next", "shifted"], ["collected"]),
        ],
        [value("state", [2]), value("slice", [2])],
        [value("next", [2]), value("collected", [2])],
    )
    attributes = {
        "num_scan_inputs": 1,
        "scan_input_axes": [1],
        "scan_input_directions": [backwards],
        "scan_output_axes": [1],
        "scan_output_directions": [1 - backwards],
    }
    nodes = [
        helper.make_node("Exp", ["start"], ["shifted"]),
        helper.make_node("Scan", ["start", "input"], ["last", "output"], name="scan", body=body, **attributes),
    ]
    inputs = [value("input", [2, 3]), value("start", [2])]
    path = write(tmp_path / "model.onnx", subgraph(nodes, inputs, [value("output"), value("last")]))
    graph = agreeing(path, (DATA, DATA[:, 0]))
    assert doubles(graph, torch.from_numpy(DATA[:, 0]).double())


def test_missing_operators_of_subgraphs_are_listed_too(tmp_path: Path) -> None:
    branch = subgraph([helper.make_node("StringSplit", ["input"], ["parts"], name="split")], [], [value("parts")])
    other = subgraph([helper.make_node("FusedGemm", ["input"], ["gemm"], domain="vendor")], [], [value("gemm")])
    nodes = [
        helper.make_node("If", ["condition"], ["output"], then_branch=branch, else_branch=other),
        helper.make_node("RegexFullMatch", ["input"], ["match"], name="match"),
    ]
    inputs = [value("input", ["batch", 3]), value("condition", [], TRUTH)]
    path = write(tmp_path / "model.onnx", subgraph(nodes, inputs, [value("output", None, FLOAT)]), vendor=1)
    with pytest.raises(UnsupportedModel) as caught:
        import_onnx(path, name="missing")
    expected = {"RegexFullMatch": ("match",), "StringSplit": ("split",), "vendor::FusedGemm": ("gemm",)}
    assert dict(caught.value.operators) == expected

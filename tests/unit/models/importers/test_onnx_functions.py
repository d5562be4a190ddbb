"""Operators that are functions of other operators."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import FunctionProto, NodeProto, helper

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.onnx import functions, import_onnx, importer
from phosphene_server.models.importers.onnx.operators import OPERATORS
from tests.unit.models.importers.onnx_files import agreeing, original, subgraph, value, write

DATA = np.random.default_rng(0).standard_normal((1, 4, 2, 3)).astype(np.float32)

WITHOUT_HANDLER = {"HardSwish", "Mish", "GroupNormalization"}
"""Operators that have handlers and bodies: expanding them is compared with ONNX Runtime, which has them too."""


@pytest.fixture
def expanding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the handlers of some operators away, so that their bodies are needed."""
    rows = {name: row for name, row in OPERATORS.items() if name not in WITHOUT_HANDLER}
    monkeypatch.setattr(importer, "OPERATORS", rows)


def scoped(node: NodeProto, *scopes: str) -> NodeProto:
    entry = node.metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.name_scopes", repr(["", *scopes])
    return node


def network(folder: Path) -> Path:
    nodes = [
        scoped(helper.make_node("Neg", ["input"], ["turned"]), "block", "block.negation", "neg"),
        scoped(helper.make_node("HardSwish", ["turned"], ["active"], name="active"), "block", "block.act", "hardswish"),
        scoped(
            helper.make_node("GroupNormalization", ["active", "scale", "bias"], ["output"], num_groups=2),
            "block",
            "block.norm",
            "group_norm",
        ),
    ]
    constants = {"scale": np.arange(4, dtype=np.float32), "bias": np.ones(4, np.float32)}
    graph = subgraph(nodes, [value("input", [1, 4, 2, 3])], [value("output", [1, 4, 2, 3])], constants)
    return write(folder / "model.onnx", graph, opset=21)


@pytest.mark.usefixtures("expanding")
def test_expanded_operators_agree_with_onnx_runtime(tmp_path: Path) -> None:
    agreeing(network(tmp_path), (DATA,))


LAYERS = ["block.negation", "block.act", "block.norm", "block"]


def test_operators_with_handlers_are_layers(tmp_path: Path) -> None:
    assert list(import_onnx(network(tmp_path), name="handlers").layers) == LAYERS


@pytest.mark.usefixtures("expanding")
def test_expanded_operators_are_the_same_layers(tmp_path: Path) -> None:
    assert list(import_onnx(network(tmp_path), name="functions").layers) == LAYERS


@pytest.mark.usefixtures("expanding")
def test_values_within_a_function_are_no_values_of_the_file(tmp_path: Path) -> None:
    graph = import_onnx(network(tmp_path), name="functions")
    named = {node.meta.get("onnx_output") for node in graph.module.graph.nodes}
    assert named == {"input", "turned", "active", "output", None}


def own_function(
    name: str, nodes: list[NodeProto], *, opset: int, attributes: list[str] | None = None
) -> FunctionProto:
    return helper.make_function(
        "author",
        name,
        ["x"],
        ["y"],
        nodes,
        [helper.make_opsetid("", opset), helper.make_opsetid("author", 1)],
        attributes,
    )


def calling(folder: Path, *defined: FunctionProto, opset: int = 20, **attributes: float) -> Path:
    nodes = [helper.make_node(defined[0].name, ["input"], ["output"], domain="author", name="call", **attributes)]
    graph = subgraph(nodes, [value("input", [1, 4, 2, 3])], [value("output")])
    return write(folder / "model.onnx", graph, opset=opset, functions=defined, author=1)


def test_function_of_the_file_takes_the_attributes_of_its_call(tmp_path: Path) -> None:
    leaky = helper.make_node("LeakyRelu", ["x"], ["y"])
    leaky.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))
    agreeing(calling(tmp_path, own_function("Bend", [leaky], opset=20, attributes=["slope"]), slope=0.3), (DATA,))


def test_function_of_another_operator_set_keeps_its_meaning(tmp_path: Path) -> None:
    # Until opset 12 the softmax of axis 1 runs over all axes from there on, and Squeeze has an attribute.
    body = [
        helper.make_node("Softmax", ["x"], ["soft"], axis=1),
        helper.make_node("Squeeze", ["soft"], ["y"], axes=[0]),
    ]
    path = calling(tmp_path, own_function("Old", body, opset=11), opset=20)
    (output,) = import_onnx(path, name="old")(torch.from_numpy(DATA))
    expected = torch.softmax(torch.from_numpy(DATA).flatten(1), 1).reshape(DATA.shape)[0]
    torch.testing.assert_close(output, expected)


def test_function_that_calls_a_function_is_expanded(tmp_path: Path) -> None:
    inner = own_function("Inner", [helper.make_node("Exp", ["x"], ["y"])], opset=20)
    outer = own_function(
        "Outer",
        [helper.make_node("Inner", ["x"], ["e"], domain="author"), helper.make_node("Neg", ["e"], ["y"])],
        opset=20,
    )
    path = calling(tmp_path, outer, inner)
    (output,) = import_onnx(path, name="nested")(torch.from_numpy(DATA))
    np.testing.assert_allclose(output, original(path, DATA)[0], rtol=1e-6)


def test_operators_that_a_function_lacks_are_listed(tmp_path: Path) -> None:
    body = [helper.make_node("Unheard", ["x"], ["y"], domain="vendor")]
    function = own_function("Call", body, opset=20)
    function.opset_import.append(helper.make_opsetid("vendor", 1))
    path = calling(tmp_path, function)
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("vendor", 1))
    onnx.save(model, path)
    with pytest.raises(UnsupportedModel, match="vendor::Unheard"):
        import_onnx(path, name="missing")


@pytest.mark.usefixtures("expanding")
def test_bodies_may_not_make_more_nodes_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = network(tmp_path)
    monkeypatch.setattr(functions, "MAXIMUM_NODES", 3)
    with pytest.raises(UnsupportedModel, match="more than 3 nodes"):
        import_onnx(path, name="large")

"""The gradient of every floating-point operator against finite differences, in float64.

The models are those of the ONNX project's own node tests, and a few more for operators that it tests with integers
alone or not at all. Their numbers are moved a little, at random, away from ties and kinks, which round numbers hit.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, defs, helper
from torch import Tensor

from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx import import_onnx
from phosphene_server.models.importers.onnx.operators import OPERATORS
from tests.unit.models.importers.onnx_node_tests import array_of, node_tests

Case = tuple[ModelProto, Sequence[Any]]
"""A model and its inputs: arrays, lists of arrays, or None."""

WITHOUT_GRADIENT: Mapping[str, str] = {
    "Bernoulli": "draws",
    "BitCast": "takes the bits for another number",
    "Ceil": "is constant between steps",
    "DynamicQuantizeLinear": "chooses its scale for integers, through which nothing passes",
    "EyeLike": "takes the shape alone",
    "Floor": "is constant between steps",
    "Hardmax": "is constant between ties",
    "MelWeightMatrix": "takes limits, from which it makes a constant",
    "RandomNormalLike": "takes the shape alone",
    "RandomUniformLike": "takes the shape alone",
    "Range": "takes limits, which decide how many numbers there are",
    "Round": "is constant between steps",
    "Sign": "is constant between steps",
}
"""Operators with floating-point inputs and outputs whose derivative is zero or nothing, and why."""

SETTINGS: Mapping[str, Mapping[int, str]] = {
    "Dropout": {1: "the share that is dropped, of interest to training alone"},
    "NegativeLogLikelihoodLoss": {2: "weights of classes"},
    "Pad": {2: "the number that padding consists of"},
    "Resize": {1: "a region", 2: "scales: they decide how many elements there are"},
    "SoftmaxCrossEntropyLoss": {2: "weights of classes"},
    "Upsample": {1: "scales: they decide how many elements there are"},
}
"""Floating-point inputs that say what an operator does instead of being computed with: constants of the graph."""

INTERIORS: Mapping[str, tuple[float, float]] = {
    "Acos": (-0.9, 0.9),
    "Acosh": (1.1, np.inf),
    "Asin": (-0.9, 0.9),
    "Atanh": (-0.9, 0.9),
    "Log": (0.1, np.inf),
    "Sqrt": (0.1, np.inf),
}
"""Operators that are not defined everywhere -> where they are, away from the ends, at which the slope is infinite."""


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def model(operator: str, inputs: Sequence[np.ndarray], *, opset: int = 22, **attributes: Any) -> Case:
    """Return a model of one node."""
    names = [f"input{index}" for index in range(len(inputs))]
    return several([helper.make_node(operator, names, ["output"], **attributes)], inputs, opset=opset)


def several(nodes: Sequence[onnx.NodeProto], inputs: Sequence[np.ndarray], *, opset: int = 22) -> Case:
    """Return a model of some nodes, from `input0`, `input1`, ... to `output`."""
    arguments = [
        helper.make_tensor_value_info(f"input{index}", helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for index, value in enumerate(inputs)
    ]
    graph = helper.make_graph(nodes, "nodes", arguments, [onnx.ValueInfoProto(name="output")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(proto), inputs


SEQUENCE = several(
    [
        helper.make_node("SequenceConstruct", ["input0", "input1"], ["two"]),
        helper.make_node("SequenceInsert", ["two", "input0", "input2"], ["three"]),
        helper.make_node("SequenceErase", ["three", "input2"], ["rest"]),
        helper.make_node("SequenceAt", ["rest", "input2"], ["one"]),
        helper.make_node("ConcatFromSequence", ["three"], ["all"], axis=0),
        helper.make_node("Mul", ["one", "all"], ["output"]),
    ],
    [values(2, 3), values(1, 3), np.array(1)],
)

FURTHER: Mapping[str, tuple[Case, ...]] = {
    "Cast": (model("Cast", [values(2, 3)], to=TensorProto.DOUBLE),),
    "CastLike": (model("CastLike", [values(2, 3), values(1).astype(np.float64)]),),
    "GlobalLpPool": (model("GlobalLpPool", [values(2, 3, 4, 4)], p=3),),
    "GridSample": (
        model("GridSample", [values(1, 2, 3, 4, 5), 0.4 * values(1, 2, 3, 2, 3)], mode="cubic"),
        model("GridSample", [values(1, 2, 6), 0.4 * values(1, 4, 1)], mode="linear", padding_mode="reflection"),
    ),
    "GRU": (
        model("GRU", [values(3, 2, 4), values(1, 9, 4), values(1, 9, 3)], hidden_size=3, clip=0.8, direction="reverse"),
    ),
    "LSTM": (
        model(
            "LSTM",
            [values(3, 2, 4), values(2, 12, 4), values(2, 12, 3)],
            hidden_size=3,
            direction="bidirectional",
            input_forget=1,
            activations=["HardSigmoid", "Softsign", "Elu", "Sigmoid", "ScaledTanh", "Affine"],
        ),
    ),
    "MaxRoiPool": (
        model(
            "MaxRoiPool",
            [values(2, 3, 6, 6), np.float32([[0, 1, 0, 4, 5], [1, 2, 2, 3, 5]])],
            pooled_shape=[2, 2],
        ),
    ),
    "Optional": (
        several(
            [
                helper.make_node("Optional", ["input0"], ["something"]),
                helper.make_node("OptionalGetElement", ["something"], ["output"]),
            ],
            [values(2, 3)],
        ),
    ),
    "RoiAlign": (
        model(
            "RoiAlign",
            [values(1, 2, 7, 7), np.float32([[0.3, 1.2, 5.4, 6.1]]), np.zeros(1, dtype=np.int64)],
            output_height=3,
            output_width=2,
        ),
    ),
    "ConcatFromSequence": (SEQUENCE,),
    "SequenceAt": (SEQUENCE,),
    "SequenceConstruct": (SEQUENCE,),
    "SequenceErase": (SEQUENCE,),
    "SequenceInsert": (SEQUENCE,),
    "Trilu": (model("Trilu", [values(2, 4, 5)]), model("Trilu", [values(3, 3)], upper=0)),
    "Upsample": (model("Upsample", [values(1, 2, 3, 3), np.float32([1, 1, 2, 1.5])], opset=9, mode="linear"),),
}
"""Operator -> cases that the node tests do not have."""


def floating_point_operators() -> list[str]:
    """Return the operators of the table that take and give floating-point numbers, alone or in sequences."""
    schemas = {operator: defs.get_schema(operator) for operator in OPERATORS if defs.has(operator)}
    return [operator for operator, schema in schemas.items() if _floats(schema.inputs) and _floats(schema.outputs)]


def _floats(formals: Sequence[defs.OpSchema.FormalParameter]) -> bool:
    return any("tensor(float)" in kind for formal in formals for kind in formal.types)


@cache
def cases() -> Mapping[str, Mapping[str, Case]]:
    """Return the cases of each operator, by the name of the test."""
    found: dict[str, dict[str, Case]] = {operator: {} for operator in OPERATORS}
    for name, test in node_tests().items():
        inputs = [array_of(value) for value in test.data_sets[0][0]]
        if "_expanded" in name or not _is_checked(inputs) or not _is_exact(test.model):
            continue
        for operator in {node.op_type for node in test.model.graph.node} & set(OPERATORS):
            found[operator][name] = (test.model, inputs)
    for operator, further in FURTHER.items():
        found[operator].update({f"further {index}": case for index, case in enumerate(further)})
    return found


def _is_checked(inputs: Iterable[Any]) -> bool:
    """Whether there is something to differentiate, in full precision: half precision would test the same again."""
    arrays = [array for value in inputs for array in (value if isinstance(value, list) else [value])]
    kinds = {array.dtype.name for array in arrays if array is not None}
    return bool(kinds & {"float32", "float64"}) and kinds <= {"float32", "float64", "int64", "int32", "uint8", "bool"}


def _is_exact(proto: ModelProto) -> bool:
    """Whether no output is rounded to a low precision, through which the gradient passes as if it were not."""
    low = {TensorProto.FLOAT8E8M0, TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2, TensorProto.FLOAT4E2M1}
    return not any(output.type.tensor_type.elem_type in low for output in proto.graph.output)


class Differentiated:
    """A graph as a function of those of its inputs that have a gradient."""

    def __init__(self, operator: str, case: Case, folder: Path) -> None:
        proto, inputs = case
        path = folder / "model.onnx"
        onnx.save(proto, path)
        self.graph: ModelGraph = import_onnx(path, name=operator).to(dtype=torch.float64)
        self.leaves: list[Tensor] = []
        self._random = np.random.default_rng(0)
        self._interior = INTERIORS.get(operator, (-np.inf, np.inf))
        fixed = SETTINGS.get(operator, {}) if len(proto.graph.node) == 1 else {}
        self.inputs = [self._placed(value, fixed=index in fixed) for index, value in enumerate(inputs)]
        self._finite = [output.detach().isfinite() for output in self._outputs(self.inputs)]

    def _placed(self, value: Any, *, fixed: bool) -> Any:
        """Return an input in float64, moved by 0.01 to 0.05 up or down; infinite numbers are masks and stay."""
        if isinstance(value, list):
            return [self._placed(element, fixed=fixed) for element in value]
        if value is None or value.dtype.kind != "f":
            return None if value is None else torch.from_numpy(np.array(value))
        step = self._random.uniform(0.01, 0.05, value.shape) * self._random.choice([-1.0, 1.0], value.shape)
        moved = value if fixed else np.clip(value + step, *self._interior)
        tensor = torch.from_numpy(np.array(moved, dtype=np.float64))
        if not fixed and tensor.numel() and bool(tensor.isfinite().all()):
            self.leaves.append(tensor.requires_grad_())
        return tensor

    def _outputs(self, inputs: Sequence[Any]) -> list[Tensor]:
        outputs: list[Any] = list(self.graph(*inputs))
        flat = [part for output in outputs for part in (output if isinstance(output, list) else [output])]
        return [output for output in flat if isinstance(output, Tensor) and output.is_floating_point()]

    def __call__(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs that have a gradient, without their infinite elements."""
        new = dict(zip(map(id, self.leaves), leaves, strict=True))
        outputs = self._outputs([_replaced(value, new) for value in self.inputs])
        chosen = [output[finite] for output, finite in zip(outputs, self._finite, strict=True)]
        return tuple(output for output in chosen if output.requires_grad)


def _replaced(value: Any, new: Mapping[int, Tensor]) -> Any:
    return [_replaced(element, new) for element in value] if isinstance(value, list) else new.get(id(value), value)


DIFFERENTIABLE = [operator for operator in floating_point_operators() if operator not in WITHOUT_GRADIENT]


@pytest.mark.parametrize("operator", DIFFERENTIABLE)
def test_gradient_agrees_with_finite_differences(operator: str, tmp_path: Path) -> None:
    checked = 0
    for name, case in cases()[operator].items():
        function = Differentiated(operator, case, tmp_path)
        if function.leaves and function(*function.leaves):
            assert torch.autograd.gradcheck(function, function.leaves, fast_mode=True, atol=1e-5), name
            checked += 1
    assert checked, f"no test differentiates {operator}"


@pytest.mark.parametrize("operator", WITHOUT_GRADIENT)
def test_gradient_is_nothing_where_it_must_be(operator: str, tmp_path: Path) -> None:
    for case in cases()[operator].values():
        function = Differentiated(operator, case, tmp_path)
        for output in function(*function.leaves):
            gradients = torch.autograd.grad(output.sum(), function.leaves, allow_unused=True)
            assert all(gradient is None or not gradient.any() for gradient in gradients)


def test_operators_without_gradient_are_in_the_table_and_have_a_reason() -> None:
    assert set(WITHOUT_GRADIENT) <= set(floating_point_operators())
    assert set(SETTINGS) | set(FURTHER) <= set(OPERATORS)
    assert all(WITHOUT_GRADIENT.values())

"""The node tests of the ONNX project: small models with inputs and outputs for nearly every operator.

`onnx.backend.test` makes them in this process. `onnx_node_tests.txt` lists the names of those that one version of ONNX
has, which its first line names; `onnx_node_test_failures.txt` those that the importer does not pass, each under its
reason. What the lists lack is printed by

    python -m tests.unit.models.importers.onnx_node_tests

Reasons are written by a person: the command says what each test died of, not why that is right.
"""

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from torch import Tensor

from phosphene_server.models.importers.onnx import import_onnx
from phosphene_server.models.importers.onnx.tensors import from_array

BFLOAT16_TOLERANCE = 2**-6
"""Two units in the last place of bfloat16: what ONNX's own runner of these tests allows for that type."""

FOLDER = Path(__file__).resolve().parent
FAMILY, OTHERS = "# The family", "# All others"
"""Headings in the list of names: tests of what a network that is to be looked into can consist of, and the rest."""


@dataclass(frozen=True)
class NodeTest:
    """A model of one node, or a few, with inputs and what each output must be up to `atol + rtol * |expected|`."""

    name: str
    model: onnx.ModelProto
    data_sets: Sequence[tuple[Sequence[Any], Sequence[Any]]]
    rtol: float
    atol: float


def listed_version() -> str:
    """Return the version of ONNX whose tests the list names."""
    first, *_ = (FOLDER / "onnx_node_tests.txt").read_text(encoding="utf-8").split("\n", 1)
    return first.removeprefix("# onnx ")


def names(heading: str) -> list[str]:
    """Return the names below one heading of the list."""
    sections = (FOLDER / "onnx_node_tests.txt").read_text(encoding="utf-8").split("# ")
    return next(section for section in sections if f"# {section}".startswith(heading)).split("\n")[1:-1]


def expected_failures() -> dict[str, str]:
    """Return the name of each test that is expected to fail, with its reason: the line with `# ` above it."""
    failures, reason = {}, ""
    for line in (FOLDER / "onnx_node_test_failures.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            reason = line.removeprefix("# ")
        elif line:
            failures[line] = reason
    return failures


@cache
def node_tests() -> Mapping[str, NodeTest]:
    """Return all node tests that the installed version of ONNX has, by name."""
    with warnings.catch_warnings(action="ignore"):  # overflows and divisions by zero that the tests want
        return {test.name: _complete(test) for test in load_model_tests(kind="node")}


def _complete(test: TestCase) -> NodeTest:
    """Return a test with its model and its data: up to ONNX 1.22 they are in files."""
    if test.model is not None and test.data_sets is not None:
        return NodeTest(test.name, test.model, test.data_sets, test.rtol, test.atol)
    folder = Path(str(test.model_dir))
    model = onnx.load(folder / "model.onnx")
    data_sets = [
        (_stored(data, "input", model.graph.input), _stored(data, "output", model.graph.output))
        for data in sorted(folder.glob("test_data_set_*"))
    ]
    return NodeTest(test.name, model, data_sets, test.rtol, test.atol)


def _stored(folder: Path, side: str, values: Sequence[onnx.ValueInfoProto]) -> list[Any]:
    """Return the inputs or the outputs of a data set: tensors, lists, or None."""
    count = len(list(folder.glob(f"{side}_*.pb")))
    return [_read(folder / f"{side}_{index}.pb", value.type) for index, value in enumerate(values[:count])]


def _read(path: Path, kind: onnx.TypeProto) -> Any:
    content = path.read_bytes()
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(content))
    return TensorProto.FromString(content)


def run(test: NodeTest, folder: Path) -> None:
    """Import the model of a test and compare its outputs with those that the test expects, at the test's tolerance.

    The graph computes in float32. Results are rounded to the floating-point type that the file declares for an output
    before they are compared. Of bfloat16 ONNX's own runner of these tests allows more than the tests say, and so does
    this one: their expected values were rounded after every step. What ONNX leaves undefined is not compared.

    Raises:
        AssertionError: they differ.
        PhospheneError: the model cannot be imported.
    """
    path = folder / "model.onnx"
    onnx.save(test.model, path)
    graph = import_onnx(path, name=test.name)
    for inputs, outputs in test.data_sets:
        with torch.no_grad():
            results = graph(*(_placed(value) for value in inputs))
        for result, expected, declared in zip(results, outputs, test.model.graph.output, strict=True):
            wanted = array_of(expected)
            defined = _defined(test, inputs, wanted)
            if defined is not None:
                result, wanted = result[torch.from_numpy(defined)], wanted[defined]
            _compare(result, wanted, test, declared)


def _defined(test: NodeTest, inputs: Sequence[Any], wanted: Any) -> np.ndarray | None:
    """Return which numbers of an output ONNX defines; None: all.

    A floating-point number that is out of the range of an integer type may be cast to any. The values that the tests
    expect there are those of the installed ml_dtypes, whose versions differ.
    """
    if [node.op_type for node in test.model.graph.node] not in (["Cast"], ["CastLike"]):
        return None
    numbers = array_of(inputs[0])
    try:
        bounds = ml_dtypes.iinfo(wanted.dtype)  # type: ignore[no-untyped-call]  # ml_dtypes leaves it untyped
        ml_dtypes.finfo(numbers.dtype)  # type: ignore[no-untyped-call]
    except ValueError:
        return None  # not from floating-point numbers to integers
    whole = np.trunc(numbers.astype(np.float64))
    inside: np.ndarray = (whole >= bounds.min) & (whole <= bounds.max)
    return inside


def array_of(value: Any) -> Any:
    """Return a value of a test as an array, a list of arrays, or None."""
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, list):
        return [array_of(element) for element in value]
    return value if value is None else np.asarray(value)


def _placed(value: Any) -> Any:
    """Return an input as the graph takes it: floating-point numbers in float32."""
    array = array_of(value)
    if isinstance(array, list):
        return [_placed(element) for element in array]
    if array is None:
        return None
    tensor = from_array(array)
    return tensor.to(torch.float32) if tensor.is_floating_point() else tensor


def _compare(result: Any, expected: Any, test: NodeTest, declared: onnx.ValueInfoProto) -> None:
    if isinstance(expected, list):
        assert len(result) == len(expected)
        for part, wanted in zip(result, expected, strict=True):
            _compare(part, wanted, test, declared)
    elif expected is None:
        assert result is None
    else:
        _compare_tensor(result, expected, test, declared)


def _compare_tensor(result: Tensor, expected: np.ndarray, test: NodeTest, declared: onnx.ValueInfoProto) -> None:
    assert isinstance(result, Tensor)
    wanted = from_array(expected)
    assert tuple(result.shape) == tuple(wanted.shape)
    if not wanted.is_floating_point():
        assert result.dtype == wanted.dtype
        np.testing.assert_array_equal(result.numpy(), wanted.numpy())
        return
    assert result.dtype == torch.float32
    if declared.type.HasField("tensor_type"):
        assert expected.dtype == helper.tensor_dtype_to_np_dtype(declared.type.tensor_type.elem_type)
    rounded = result.numpy().astype(expected.dtype).astype(np.float64)
    rtol = max(test.rtol, BFLOAT16_TOLERANCE) if expected.dtype.name == "bfloat16" else test.rtol
    np.testing.assert_allclose(rounded, expected.astype(np.float64), rtol=rtol, atol=test.atol)


def _failure(test: NodeTest, folder: Path) -> str:
    try:
        run(test, folder)
    except Exception as error:  # whatever it is, it goes into the report
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return ""


def report(selected: Sequence[str]) -> None:
    """Print which tests fail without being expected to, and which are expected to fail and pass."""
    expected = expected_failures()
    with tempfile.TemporaryDirectory() as folder:
        for name in selected:
            failure = _failure(node_tests()[name], Path(folder))
            if failure and name not in expected:
                print(f"fails   {name}  {failure}")
            elif not failure and name in expected:
                print(f"passes  {name}")


if __name__ == "__main__":
    report([*names(FAMILY), *names(OTHERS)])

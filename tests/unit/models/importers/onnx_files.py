"""Small ONNX files for tests, and what ONNX Runtime makes of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import FunctionProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx import import_onnx

FLOAT, INTEGER, TRUTH = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name: str, shape: Sequence[int | str | None] | None = None, element_type: int = FLOAT) -> ValueInfoProto:
    """A tensor; without a shape nothing but its element type is declared."""
    return helper.make_tensor_value_info(name, element_type, shape)


def subgraph(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    constants: dict[str, np.ndarray] | None = None,
) -> GraphProto:
    """A graph with constants by name."""
    tensors = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    return helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), tensors)


def write(
    path: Path,
    graph: GraphProto,
    *,
    opset: int = 20,
    functions: Sequence[FunctionProto] = (),
    **domains: int,
) -> Path:
    """Write a model; `domains` are operator sets other than the standard one."""
    opsets = [
        helper.make_opsetid("", opset),
        *(helper.make_opsetid(domain, version) for domain, version in domains.items()),
    ]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=list(functions)), path)
    return path


def original(path: Path, *inputs: Any) -> list[np.ndarray]:
    """The outputs of ONNX Runtime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [argument.name for argument in session.get_inputs()]
    results: list[np.ndarray] = session.run(None, dict(zip(names, inputs, strict=True)))
    return results


def agreeing(path: Path, *cases: tuple[np.ndarray, ...]) -> ModelGraph:
    """Import a file and compare it with ONNX Runtime on each case."""
    graph = import_onnx(path, name="file")
    for inputs in cases:
        ours = graph(*map(torch.from_numpy, inputs))
        for result, expected in zip(ours, original(path, *inputs), strict=True):
            np.testing.assert_allclose(result.numpy(), expected, rtol=1e-5, atol=1e-6)
    return graph

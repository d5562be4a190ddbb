"""ONNX models of a few nodes, written in ONNX's own textual form."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx import import_onnx


def write(folder: Path, text: str, *, opset: int = 21) -> Path:
    """Write a model: `(float[N] x) => (float[N] y) { y = Relu (x) }`."""
    header = f'<ir_version: 10, opset_import: ["" : {opset}]> graph '
    path = folder / "model.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(header + text)), path)
    return path


def imported(folder: Path, text: str, *, opset: int = 21) -> ModelGraph:
    """Write a model and import it."""
    return import_onnx(write(folder, text, opset=opset), name="model")


def run_reference(path: Path, *inputs: np.ndarray) -> list[Any]:
    """Run a model in ONNX's own, slow and plain, evaluator."""
    evaluator = ReferenceEvaluator(str(path))
    return list(evaluator.run(None, dict(zip(evaluator.input_names, inputs, strict=True))))


def run_original(path: Path, *inputs: np.ndarray) -> list[Any]:
    """Run a model in ONNX Runtime, without its optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [argument.name for argument in session.get_inputs()]
    return list(session.run(None, dict(zip(names, inputs, strict=True))))

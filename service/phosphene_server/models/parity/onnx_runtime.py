"""ONNX files in ONNX Runtime."""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import GraphProto, ModelProto, TensorProto
from torch import Tensor

from phosphene_server.errors import ModelUnusable, first_line
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.parity.deviations import (
    BFLOAT16_TOLERANCE,
    HALF_TOLERANCE,
    QUANTIZED_TOLERANCE,
    TOLERANCE,
    Array,
)
from phosphene_server.models.parity.original import CannotRun

ERRORS_ONLY = 3
"""Log level of ONNX Runtime: no warnings about what it folded."""

LIMIT_SECONDS = 60.0
"""How long one evaluation may take; a Loop in a file need not end."""

NUMPY_TYPES = {"float": "float32", "double": "float64"}
"""What numpy calls the types that ONNX Runtime calls otherwise."""


class OnnxOriginal:
    """An ONNX file in ONNX Runtime."""

    def __init__(self, path: Path, name: str) -> None:
        """Take the file, and the model's name for errors."""
        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        self._path = path
        self._name = name
        # The weights beside it stay where they are.
        self._proto = onnx.load(path, load_external_data=False)
        self._quantized = any("Quantize" in node.op_type or "QLinear" in node.op_type for node in _nodes(self._proto))
        self.tolerance = _tolerance(self._proto, quantized=self._quantized)

    def outputs(self, inputs: Sequence[Tensor]) -> list[Array]:
        """Return the outputs; see `Original`."""
        return self._run(str(self._path), None, inputs)

    def layers(self, graph: ModelGraph, inputs: Sequence[Tensor]) -> Mapping[str, Array]:
        """Return the values of all layers whose nodes the importer has marked with their names in the file."""
        tensors = {node.name: node.meta.get("onnx_output", "") for node in graph.module.graph.nodes}
        shown = {layer.name: tensors[layer.node] for layer in graph.layers.values() if tensors.get(layer.node)}
        wanted = list(dict.fromkeys(shown.values()))
        values = dict(zip(wanted, self._run(self._showing(wanted), wanted, inputs), strict=True))
        return {layer: values[tensor] for layer, tensor in shown.items()}

    def _showing(self, tensors: Sequence[str]) -> bytes:
        """Return a model with inner tensors as outputs too."""
        model = ModelProto()
        model.CopyFrom(self._proto)
        present = {output.name for output in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=tensor) for tensor in tensors if tensor not in present)
        return model.SerializeToString()

    def _run(self, source: str | bytes, tensors: Sequence[str] | None, inputs: Sequence[Tensor]) -> list[Array]:
        """Return the outputs, or the named tensors, as ONNX Runtime computes them on the CPU."""
        run_options = onnxruntime.RunOptions()
        try:
            session = onnxruntime.InferenceSession(source, self._options(), providers=["CPUExecutionProvider"])
            feeds = _feeds(session, inputs)
            with _terminated_after(run_options, LIMIT_SECONDS):
                results: list[Any] = session.run(tensors, feeds, run_options)
        except CannotRun:
            raise
        except Exception as error:  # ONNX Runtime has no public base class of its errors
            if run_options.terminate:
                detail = f"ONNX Runtime did not finish with one picture within {LIMIT_SECONDS:.0f} s"
                raise ModelUnusable(self._name, detail) from error
            raise CannotRun(f"ONNX Runtime cannot run it: {first_line(error)}") from error
        if not all(isinstance(result, np.ndarray) for result in results):
            raise CannotRun("its outputs are not all tensors")
        return results

    def _options(self) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = ERRORS_ONLY
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(self._path.parent))
        if self._quantized:
            # Otherwise what stands between Quantize and Dequantize is computed in integers: the file does not say so.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return options


@contextmanager
def _terminated_after(options: onnxruntime.RunOptions, seconds: float) -> Iterator[None]:
    """Ask ONNX Runtime to stop before its next node when the time is over."""
    timer = threading.Timer(seconds, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _feeds(session: onnxruntime.InferenceSession, inputs: Sequence[Tensor]) -> dict[str, Array]:
    wanted = session.get_inputs()
    if len(wanted) != len(inputs):
        raise CannotRun(f"it has {len(wanted)} inputs, of which {len(inputs)} are known")
    return {
        argument.name: tensor.detach().cpu().numpy().astype(_numpy_type(argument.type))
        for argument, tensor in zip(wanted, inputs, strict=True)
    }


def _numpy_type(runtime_type: str) -> Any:
    """Return the numpy type of `tensor(float)` and its like."""
    found = re.fullmatch(r"tensor\((\w+)\)", runtime_type)
    try:
        return np.dtype(NUMPY_TYPES.get(found[1], found[1]) if found else "")
    except TypeError as error:
        raise CannotRun(f"one of its inputs is a {runtime_type}, which numpy does not have") from error


def _tolerance(proto: ModelProto, *, quantized: bool) -> float:
    types = {tensor.data_type for tensor in proto.graph.initializer}
    types |= {value.type.tensor_type.elem_type for value in proto.graph.input}
    candidates = [TOLERANCE]
    candidates += [QUANTIZED_TOLERANCE] if quantized else []
    candidates += [HALF_TOLERANCE] if TensorProto.FLOAT16 in types else []
    candidates += [BFLOAT16_TOLERANCE] if TensorProto.BFLOAT16 in types else []
    return max(candidates)


def _nodes(proto: ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of the graph, of what is nested in it, and of the functions."""
    waiting: list[GraphProto | onnx.FunctionProto] = [proto.graph, *proto.functions]
    while waiting:
        for node in waiting.pop().node:
            yield node
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else attribute.graphs

"""How far the differentiable graph is from ONNX Runtime, which the file was made for, on the same input."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.errors import DamagedModel, ParityFailure
from phosphene_server.models.graph import GraphLayer, ModelGraph
from phosphene_server.values.model import Parity

TOLERANCE = 1e-3
"""Largest deviation that is accepted, relative to the largest output if that is above 1. Two runtimes that add float32
numbers in different orders stay a hundred times below it."""

ERRORS_ONLY = 3
"""Log level of ONNX Runtime: no warnings about what it folded."""

Array = NDArray[Any]


def measure_onnx_parity(graph: ModelGraph, path: Path, inputs: tuple[Tensor, ...], *, name: str) -> Parity:
    """Run a file in ONNX Runtime and its graph on the same input, and compare.

    Args:
        graph: The graph that was imported from the file.
        path: The .onnx file.
        inputs: The model's inputs, floating-point ones in float32, of a size that the file accepts.
        name: The name of the model, for errors.

    Returns:
        The largest absolute deviation over all outputs and the largest magnitude of an output.

    Raises:
        ParityFailure: the outputs depart; the error names the first layer that does.
        DamagedModel: ONNX Runtime refuses the file, or cannot run it on these inputs.
    """
    expected = _run_original(path, None, inputs, name)
    with torch.no_grad():
        outputs = [_array(output) for output in graph(*(tensor.to(_device(graph)) for tensor in inputs))]
    deviations = [_deviation(ours, theirs) for ours, theirs in zip(outputs, expected, strict=True)]
    scale = max((_scale(output) for output in expected), default=0.0)
    if not all(_agrees(deviation, _scale(output)) for deviation, output in zip(deviations, expected, strict=True)):
        raise _failure(graph, path, inputs, name, deviation=max(deviations))
    return Parity(
        runtime=f"onnxruntime {onnxruntime.__version__}",
        largest_deviation=max(deviations, default=0.0),
        output_scale=scale,
        input_shape=tuple(inputs[0].shape) if inputs else (),
    )


def layer_deviations(
    graph: ModelGraph, path: Path, inputs: tuple[Tensor, ...], *, name: str
) -> dict[str, tuple[float, float]]:
    """Return for each layer, in order, the largest absolute deviation from ONNX Runtime and the original's scale.

    Layers whose values ONNX Runtime does not show are left out. This keeps all activations in memory at once.

    Raises:
        DamagedModel: ONNX Runtime refuses the file, or cannot run it on these inputs.
    """
    nodes = {node.name: node.meta.get("onnx_output", "") for node in graph.module.graph.nodes}
    rows: list[GraphLayer] = [layer for layer in graph.layers.values() if nodes.get(layer.node)]
    tensors = list(dict.fromkeys(nodes[layer.node] for layer in rows))
    originals = dict(zip(tensors, _run_original(path, tensors, inputs, name), strict=True))
    with torch.no_grad():
        values = graph.cut([layer.name for layer in rows])(*(tensor.to(_device(graph)) for tensor in inputs))
    result = {}
    for layer in rows:
        original = originals[nodes[layer.node]]
        result[layer.name] = (_deviation(_array(values[layer.name]), original), _scale(original))
    return result


def _failure(
    graph: ModelGraph, path: Path, inputs: tuple[Tensor, ...], name: str, *, deviation: float
) -> ParityFailure:
    """Return the error that names the first layer that departs."""
    for layer, (difference, scale) in layer_deviations(graph, path, inputs, name=name).items():
        if not _agrees(difference, scale):
            detail = f"layer {layer!r} departs from ONNX Runtime by {difference:.3g} at a scale of {scale:.3g}"
            return ParityFailure(name, detail, layer, difference)
    return ParityFailure(name, f"its output departs from ONNX Runtime by {deviation:.3g}", "", deviation)


def _run_original(path: Path, tensors: Sequence[str] | None, inputs: tuple[Tensor, ...], name: str) -> list[Array]:
    """Return the outputs of a file, or the named tensors inside of it, as ONNX Runtime computes them on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    source: str | bytes = str(path) if tensors is None else _showing(path, tensors)
    try:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        feeds = {
            argument.name: tensor.detach().cpu().numpy().astype(_numpy_type(argument.type))
            for argument, tensor in zip(session.get_inputs(), inputs, strict=True)
        }
        results: list[Array] = session.run(tensors, feeds)
    except Exception as error:  # ONNX Runtime has no public base class of its errors
        first = str(error).strip().splitlines()[0]
        raise DamagedModel(name, f"ONNX Runtime cannot run it: {first}") from error
    return results


def _showing(path: Path, tensors: Sequence[str]) -> bytes:
    """Return a model with inner tensors as outputs too; external data stays where it is."""
    model = onnx.load(path, load_external_data=False)
    present = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=tensor) for tensor in tensors if tensor not in present)
    return model.SerializeToString()


def _numpy_type(runtime_type: str) -> Any:
    """Return the numpy type of `tensor(float)` and its like."""
    name = runtime_type.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(name, name))


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array


def _device(graph: ModelGraph) -> torch.device:
    return next((buffer.device for buffer in graph.module.buffers()), torch.device("cpu"))


def _deviation(ours: Array, theirs: Array) -> float:
    """Return the largest absolute difference; infinite where the shapes or the places of NaN differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    first, second = ours.astype(np.float64), theirs.astype(np.float64)
    same = (first == second) | (np.isnan(first) & np.isnan(second))
    difference = np.where(same, 0.0, np.abs(first - second))
    return float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0))


def _scale(values: Array) -> float:
    return float(np.nan_to_num(np.abs(values.astype(np.float64)), nan=0.0, posinf=0.0).max(initial=0.0))


def _agrees(deviation: float, scale: float) -> bool:
    return deviation <= TOLERANCE * max(1.0, scale)

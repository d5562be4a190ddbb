"""Runs a file in its own runtime and its graph on the same input, and compares."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, fx

from phosphene_server.errors import ModelUnusable, ParityFailure
from phosphene_server.models.batching import first_chunk
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.observation import values_of
from phosphene_server.models.parity.deviations import FLOOR, Array, agrees, array_of, deviation, scale
from phosphene_server.models.parity.onnx_runtime import OnnxOriginal
from phosphene_server.models.parity.original import CannotRun, Original
from phosphene_server.models.parity.torch_export import TorchExportOriginal
from phosphene_server.models.parity.torchscript import TorchScriptOriginal
from phosphene_server.values.model import ModelFormat, Parity

ORIGINALS: Mapping[ModelFormat, Callable[[Path, str], Original]] = {
    "onnx": OnnxOriginal,
    "torchscript": TorchScriptOriginal,
    "torch_export": TorchExportOriginal,
}
"""The runtime that each format belongs to."""

NOISE_FACTOR = 30.0
"""How many times its own rounding noise a graph may depart. Some networks amplify the rounding of float32 beyond any
tolerance, for example untrained ones without normalization; two correct evaluations then differ by a few times that."""


@dataclass(frozen=True)
class Comparison:
    """The parity of a graph, or why it could not be measured."""

    parity: Parity | None
    note: str = ""
    """Why there is no parity; empty where there is."""


def measure_parity(
    graph: ModelGraph, path: Path, inputs: Sequence[Tensor], *, name: str, model_format: ModelFormat
) -> Comparison:
    """Run a file in its own runtime and its graph on the same input, and compare the outputs.

    Args:
        graph: The graph that was imported from the file.
        path: The file.
        inputs: The model's inputs, floating-point ones in float32, of a size that the file accepts.
        name: The name of the model, for errors.
        model_format: The format of the file.

    Returns:
        The largest absolute deviation over all outputs and the largest magnitude of an output; where the runtime cannot
        run the file, the reason.

    Raises:
        ParityFailure: the outputs depart; the error names the first layer that does.
        ModelUnusable: the runtime did not finish in time.
    """
    original = ORIGINALS[model_format](path, name)
    fitting = first_chunk(inputs, graph.batching)
    try:
        expected = original.outputs(fitting)
    except CannotRun as error:
        return Comparison(None, str(error))
    ours = _evaluate(graph.module, _as_graph_reads(graph, fitting))
    if len(ours) != len(expected):
        raise ParityFailure(name, f"its graph has {len(ours)} outputs, {original.runtime} gives {len(expected)}")
    differences = [deviation(mine, theirs) for mine, theirs in zip(ours, expected, strict=True)]
    if not _all_agree(differences, expected, original.tolerance) and not _within_noise(
        graph, fitting, ours, differences
    ):
        raise _failure(graph, original, fitting, name, difference=max(differences))
    if not any(map(scale, expected)):
        _compare_layers(graph, original, fitting, name)
    return Comparison(
        Parity(
            runtime=original.runtime,
            largest_deviation=max(differences, default=0.0),
            output_scale=max(map(scale, expected), default=0.0),
            input_shape=tuple(fitting[0].shape) if fitting else (),
        )
    )


def layer_deviations(
    graph: ModelGraph, path: Path, inputs: Sequence[Tensor], *, name: str, model_format: ModelFormat = "onnx"
) -> dict[str, tuple[float, float]]:
    """Return for each layer, in order, the largest absolute deviation from the original and the original's scale.

    Layers whose values the runtime does not show are left out. This keeps all activations in memory at once.

    Raises:
        ModelUnusable: the runtime cannot run the file on these inputs.
    """
    fitting = first_chunk(inputs, graph.batching)
    try:
        return _layer_deviations(graph, ORIGINALS[model_format](path, name), fitting)
    except CannotRun as error:
        raise ModelUnusable(name, str(error)) from error


def _layer_deviations(
    graph: ModelGraph, original: Original, inputs: Sequence[Tensor]
) -> dict[str, tuple[float, float]]:
    theirs = original.layers(graph, inputs)
    nodes = {name: layer.node for name, layer in graph.layers.items() if name in theirs}
    values = values_of(graph, _as_graph_reads(graph, inputs), frozenset(nodes.values()))
    tensors = {name: values[node] for name, node in nodes.items() if isinstance(values.get(node), Tensor)}
    ours = {name: array_of(tensor) for name, tensor in tensors.items()}
    return {name: (deviation(value, theirs[name]), scale(theirs[name])) for name, value in ours.items()}


def _compare_layers(graph: ModelGraph, original: Original, inputs: Sequence[Tensor], name: str) -> None:
    """Compare what stands before outputs that are zeros, as those of a head that was never trained: they hide all."""
    failure = _failure(graph, original, inputs, name, difference=0.0)
    if failure.layer:
        raise failure


def _failure(
    graph: ModelGraph, original: Original, inputs: Sequence[Tensor], name: str, *, difference: float
) -> ParityFailure:
    """Return the error that names the first layer that departs."""
    try:
        rows = _layer_deviations(graph, original, inputs)
    except CannotRun:
        rows = {}
    for layer, (apart, largest) in rows.items():
        if not agrees(apart, largest, original.tolerance):
            detail = f"layer {layer!r} departs from {original.runtime} by {apart:.3g} at a scale of {largest:.3g}"
            return ParityFailure(name, detail, layer, apart)
    return ParityFailure(name, f"its output departs from {original.runtime} by {difference:.3g}", "", difference)


def _all_agree(differences: Sequence[float], expected: Sequence[Array], tolerance: float) -> bool:
    return all(agrees(each, scale(output), tolerance) for each, output in zip(differences, expected, strict=True))


def _within_noise(
    graph: ModelGraph, inputs: Sequence[Tensor], ours: Sequence[Array], differences: Sequence[float]
) -> bool:
    """Tell whether the deviations are of the order of what rounding does to the graph itself."""
    exact = copy.deepcopy(graph.module).double()
    try:
        references = _evaluate(exact, [tensor.double() if tensor.is_floating_point() else tensor for tensor in inputs])
    except RuntimeError:  # it mixes in a type of its own
        return False
    noise = [deviation(mine, reference) for mine, reference in zip(ours, references, strict=True)]
    return all(
        apart <= NOISE_FACTOR * own + FLOOR < float("inf") for apart, own in zip(differences, noise, strict=True)
    )


def _evaluate(module: fx.GraphModule, inputs: Sequence[Tensor]) -> list[Array]:
    with torch.no_grad():
        return [array_of(output) for output in module(*inputs)]


def _as_graph_reads(graph: ModelGraph, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return the inputs on the device of the graph, floating-point ones in the type of its weights."""
    weight = next((buffer for buffer in graph.module.buffers() if buffer.is_floating_point()), torch.empty(0))
    return [tensor.to(weight.device, weight.dtype if tensor.is_floating_point() else tensor.dtype) for tensor in inputs]

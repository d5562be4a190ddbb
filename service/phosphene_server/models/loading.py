"""From a file that the repository vouches for to a model that can be used."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from phosphene_server.errors import DamagedModel, PhospheneError
from phosphene_server.models.graph import GraphLayer, ModelGraph
from phosphene_server.models.importers.onnx import import_onnx
from phosphene_server.models.importers.torch_export import import_torch_export
from phosphene_server.models.importers.torchscript import import_torchscript
from phosphene_server.models.inputs import Reading, read_inputs
from phosphene_server.models.layer_table import layer_table
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.models.parity import Comparison, measure_parity
from phosphene_server.models.probing import Probe, probe
from phosphene_server.values.model import Model, ModelFormat
from phosphene_server.values.work import ModelSource

IMPORTERS: Mapping[ModelFormat, Callable[..., ModelGraph]] = {
    "onnx": import_onnx,
    "torchscript": import_torchscript,
    "torch_export": import_torch_export,
}


def load_model(source: ModelSource, device: torch.device) -> LoadedModel:
    """Import a model, measure it on random pictures, and put it on a device.

    Raises:
        DamagedModel: the file is unreadable, or not the one that the front saw, or its labels do not fit its logits.
        UnsupportedModel: it needs operators that the importer does not have.
        ParityFailure: its graph departs from the original runtime.
        ModelUnusable: it does not take a picture of the size that its manifest gives.
    """
    started = time.perf_counter()
    name = source.reference.name
    _verify_digest(source)
    graph = import_file(source)
    reading = read_inputs(source, graph.inputs)
    probed = probe(graph, reading, name=name)
    reading = replace(reading, preprocessing=probed.preprocessing)
    comparison = compare(source, graph, probed.inputs)  # before activations are turned: the file has them as they are
    model = describe(source, graph, reading, probed, comparison)
    graph.to(device=device, memory_format=torch.channels_last)  # in which convolutions are fastest
    model = replace(model, load_seconds=time.perf_counter() - started)
    return LoadedModel(source, graph, model, device, reading.defaults)


def describe(source: ModelSource, graph: ModelGraph, reading: Reading, probed: Probe, comparison: Comparison) -> Model:
    """Tell all that was found out about a model; its graph takes batches as the probe says from then on.

    Raises:
        DamagedModel: the labels do not fit the logits.
        NotFound: the manifest names a layer of logits that is not there.
    """
    graph.set_batching(probed.batching)
    shapes = graph.layer_shapes(probed.shapes, batch=probed.batching.size or 1)
    logits_layer = _logits_layer(graph, source, shapes)
    table = layer_table(graph, probed.own_inputs, shapes, probed.preprocessing)
    return Model(
        reference=source.reference,
        description=source.description,
        sha256=source.sha256,
        size_bytes=source.size_bytes,
        producer=graph.producer,
        inputs=graph.inputs,
        outputs=graph.outputs,
        preprocessing=probed.preprocessing,
        labels=source.labels,
        logits_layer=logits_layer,
        parameter_count=table.parameter_count,
        layers=table.layers,
        parity=comparison.parity,
        load_seconds=0.0,
        parity_note=comparison.note,
        batch_handling="any" if probed.batching.size is None else "split",
        fixed_batch_size=probed.batching.size or 0,
        picture_input=graph.inputs[reading.picture].name if reading.picture is not None else "",
        required_inputs=reading.required,
        multiply_accumulates=table.multiply_accumulates,
    )


def _verify_digest(source: ModelSource) -> None:
    """Compare the file with the one that the repository saw: it may have been replaced since."""
    with Path(source.path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != source.sha256:
        raise DamagedModel(source.reference.name, "the file changed after it was listed; ask again")


def import_file(source: ModelSource) -> ModelGraph:
    """Read the file of a model with the importer of its format.

    Raises:
        DamagedModel, UnsupportedModel: as the importers.
    """
    name = source.reference.name
    try:
        kind = source.reference.format or "onnx"
        return IMPORTERS[kind](source.path, name=name, **_hints(source))
    except PhospheneError:
        raise
    except Exception as error:  # a damaged file may contradict itself in more ways than the importers foresee
        raise DamagedModel(name, f"its file contradicts itself: {type(error).__name__}: {error}"[:500]) from error


def _hints(source: ModelSource) -> dict[str, tuple[int, int]]:
    """Return what the manifest tells an importer: a scripted module does not say the size of picture that it takes."""
    if source.reference.format != "torchscript" or "size" in source.left_open:
        return {}
    return {"size": (source.preprocessing.size.height, source.preprocessing.size.width)}


def compare(source: ModelSource, graph: ModelGraph, inputs: Sequence[Tensor]) -> Comparison:
    """Compare a graph with the runtime that its file was made for, on inputs that the file accepts.

    Raises:
        ParityFailure: the outputs depart.
    """
    kind = source.reference.format or "onnx"
    return measure_parity(graph, source.path, inputs, name=source.reference.name, model_format=kind)


def _logits_layer(graph: ModelGraph, source: ModelSource, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the layer of the class logits: the manifest's, otherwise that of the output, before any softmax."""
    if source.logits_layer:
        chosen = graph.layer(source.logits_layer, field="manifest.logits").name
    else:
        chosen = _output_layer(graph)
    if chosen and len(shapes[chosen]) != 2:
        chosen = ""
    if chosen and source.labels and len(source.labels) != shapes[chosen][1]:
        detail = f"labels: {len(source.labels)} names for the {shapes[chosen][1]} logits of layer {chosen!r}"
        raise DamagedModel(source.reference.name, detail)
    return chosen


def _output_layer(graph: ModelGraph) -> str:
    """Return the innermost layer whose value is the first output, or what a softmax there reads; "" if unnamed."""
    output = next(node for node in graph.module.graph.nodes if node.op == "output")
    node = output.all_input_nodes[0] if output.all_input_nodes else None
    by_node: dict[str, GraphLayer] = {}
    for layer in graph.layers.values():
        known = by_node.get(layer.node)
        if known is None or (known.kind == "module" and layer.kind != "module"):
            by_node[layer.node] = layer
    while node is not None and node.name in by_node and by_node[node.name].kind in {"softmax", "log_softmax"}:
        node = next(iter(node.all_input_nodes), None)
    return by_node[node.name].name if node is not None and node.name in by_node else ""

"""From a file that the repository vouches for to a model that can be used."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from phosphene_server.errors import DamagedModel, ModelUnusable
from phosphene_server.models.graph import GraphLayer, ModelGraph, filter_first
from phosphene_server.models.importers.onnx import import_onnx
from phosphene_server.models.importers.torch_export import import_torch_export
from phosphene_server.models.importers.torchscript import import_torchscript
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.models.parity import measure_onnx_parity
from phosphene_server.models.preprocessing import preprocess
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import Layer, Model, ModelFormat, Parity, Preprocessing
from phosphene_server.values.work import ModelSource

IMPORTERS: Mapping[ModelFormat, Callable[..., ModelGraph]] = {
    "onnx": import_onnx,
    "torchscript": import_torchscript,
    "torch_export": import_torch_export,
}

PROBE_SEED = 20170711
"""The random picture on which a model is measured is always the same."""

OTHER_SIZE_PIXELS = 32
"""How much larger the second probe is, which tells whether the network takes pictures of any size."""


def load_model(source: ModelSource, device: torch.device) -> LoadedModel:
    """Import a model, measure it once on a random picture, and put it on a device.

    Raises:
        DamagedModel: the file is unreadable, or not the one that the front saw, or its labels do not fit its logits.
        UnsupportedModel: it needs operators that the importer does not have.
        ParityFailure: its graph departs from the original runtime.
        ModelUnusable: it does not take a picture of the size that its manifest gives.
    """
    started = time.perf_counter()
    name = source.reference.name
    _verify_digest(source)
    graph = IMPORTERS[source.reference.format or "onnx"](source.path, name=name)
    probe = _probe(source.preprocessing, source.preprocessing.size)
    shapes = _shapes(graph, probe, name)
    parity = _parity(source, graph, probe)
    preprocessing = replace(
        source.preprocessing,
        fixed_size=source.preprocessing.fixed_size or not _takes_other_sizes(graph, source.preprocessing),
    )
    logits_layer = _logits_layer(graph, source, shapes)
    model = Model(
        reference=source.reference,
        description=source.description,
        sha256=source.sha256,
        size_bytes=source.size_bytes,
        producer=graph.producer,
        inputs=graph.inputs,
        outputs=graph.outputs,
        preprocessing=preprocessing,
        labels=source.labels,
        logits_layer=logits_layer,
        parameter_count=_count(graph, {name for layer in graph.layers.values() for name in layer.parameters}),
        layers=tuple(_row(graph, layer, shapes) for layer in graph.layers.values()),
        parity=parity,
        load_seconds=0.0,
    )
    graph.to(device=device, memory_format=torch.channels_last)  # in which convolutions are fastest
    return LoadedModel(source, graph, replace(model, load_seconds=time.perf_counter() - started), device)


def _verify_digest(source: ModelSource) -> None:
    """Compare the file with the one that the repository saw: it may have been replaced since."""
    with Path(source.path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != source.sha256:
        raise DamagedModel(source.reference.name, "the file changed after it was listed; ask again")


def _probe(preprocessing: Preprocessing, size: ImageSize) -> Tensor:
    """Return a random picture as the model's input, (1, channel, height, width)."""
    generator = torch.Generator().manual_seed(PROBE_SEED)
    picture = torch.rand(1, 3, size.height, size.width, generator=generator)
    return preprocess(picture, preprocessing)


def _shapes(graph: ModelGraph, probe: Tensor, name: str) -> dict[str, tuple[int, ...]]:
    try:
        return graph.shapes(probe)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        size = tuple(probe.shape[1:])
        raise ModelUnusable(name, f"it does not take an input of shape {size} (the manifest's): {error}") from error


def _takes_other_sizes(graph: ModelGraph, preprocessing: Preprocessing) -> bool:
    """Tell whether the network runs on a larger picture too; fully connected layers after a flatten do not."""
    size = preprocessing.size
    larger = ImageSize(size.height + OTHER_SIZE_PIXELS, size.width + OTHER_SIZE_PIXELS)
    try:
        with torch.no_grad():
            graph(_probe(replace(preprocessing, fixed_size=False), larger))
    except (RuntimeError, ValueError, IndexError, TypeError):
        return False
    return True


def _parity(source: ModelSource, graph: ModelGraph, probe: Tensor) -> Parity | None:
    if source.reference.format != "onnx":
        return None
    return measure_onnx_parity(graph, source.path, (probe,), name=source.reference.name)


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


def _row(graph: ModelGraph, layer: GraphLayer, shapes: Mapping[str, tuple[int, ...]]) -> Layer:
    inside = {layer.name} | {name for name in graph.layers if name.startswith(f"{layer.name}.")}
    parameters = {parameter for name in inside for parameter in graph.layers[name].parameters}
    return Layer(
        name=layer.name,
        kind=layer.kind,
        shape=shapes.get(layer.name, ())[1:],
        parameter_count=_count(graph, parameters),
        filter_shape=_filter_shape(graph, layer),
    )


def _count(graph: ModelGraph, targets: set[str]) -> int:
    return sum(graph.tensor(target).numel() for target in targets)


def _filter_shape(graph: ModelGraph, layer: GraphLayer) -> tuple[int, ...]:
    """Return (filter, channel, spatial...) of a layer's filters; empty where it has none."""
    if layer.filters is None:
        return ()
    return tuple(filter_first(layer.filters, graph.tensor(layer.filters.weight)).shape)

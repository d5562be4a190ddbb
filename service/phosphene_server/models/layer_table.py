"""The layer table: what is told about every named activation of a model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from phosphene_server.models.graph import GraphLayer, ModelGraph, ancestors, filter_first
from phosphene_server.models.module_contents import costs_inside, parameters_inside
from phosphene_server.models.receptive_fields import describe
from phosphene_server.models.survey import NodeRecord, survey
from phosphene_server.values.model import Layer, Preprocessing, ReceptiveField


@dataclass(frozen=True)
class LayerTable:
    """All rows, and the sums over the whole model."""

    layers: tuple[Layer, ...]
    parameter_count: int
    multiply_accumulates: int
    """For one picture, of all that the outputs need."""


def layer_table(
    graph: ModelGraph, inputs: Sequence[Tensor], shapes: Mapping[str, tuple[int, ...]], preprocessing: Preprocessing
) -> LayerTable:
    """Run a graph once on pictures of its own size and tell about its layers.

    Args:
        graph: The graph, on the device of the inputs; its batching is known.
        inputs: All inputs, of as many pictures as the graph takes at once.
        shapes: The shapes of the layers' activations, by name, with the batch axis.
        preprocessing: How pictures become the input.
    """
    picture = graph.batching.picture
    records = survey(graph.module, inputs, picture=picture, channels_last=preprocessing.layout == "nhwc")
    batch = 1 if picture is None else len(inputs[picture])
    costs = {name: record.multiply_accumulates for name, record in records.items()}
    parameters, inside = parameters_inside(graph), costs_inside(graph, costs)
    layers = tuple(
        Layer(
            name=layer.name,
            kind=layer.kind,
            shape=shapes.get(layer.name, ())[1:],
            parameter_count=_count(graph, parameters[layer.name]),
            filter_shape=_filter_shape(graph, layer),
            receptive_field=_receptive_field(records.get(layer.node), preprocessing),
            multiply_accumulates=inside.get(layer.name, 0) // batch,
            gradient_reaches_input=layer.node in records and records[layer.node].gradient_reaches_input,
        )
        for layer in graph.layers.values()
    )
    needed = {node.name for node in (*graph.output_nodes, *ancestors(graph.output_nodes))}
    return LayerTable(
        layers=layers,
        parameter_count=_count(graph, {target for layer in graph.layers.values() for target in layer.parameters}),
        multiply_accumulates=sum(cost for name, cost in costs.items() if name in needed) // batch,
    )


def _receptive_field(record: NodeRecord | None, preprocessing: Preprocessing) -> ReceptiveField | None:
    if record is None or record.sight is None:
        return None
    return describe(record.sight, preprocessing.size)


def _count(graph: ModelGraph, targets: Iterable[str]) -> int:
    return sum(graph.tensor(target).numel() for target in targets)


def _filter_shape(graph: ModelGraph, layer: GraphLayer) -> tuple[int, ...]:
    """Return (filter, channel, spatial...) of a layer's filters; empty where it has none."""
    if layer.filters is None:
        return ()
    return tuple(filter_first(layer.filters, graph.tensor(layer.filters.weight)).shape)

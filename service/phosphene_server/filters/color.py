"""Whether a layer reads the three colours of the picture, so that its filters can be drawn in colour."""

from torch import Tensor, fx

from phosphene_server.models.graph import GraphLayer, ModelGraph, ancestors
from phosphene_server.values.model import ChannelOrder

_REORDERING = ("flip", "gather", "index", "matmul", "permute", "reshape", "roll", "shuffle", "transpose", "view")
"""Parts of the names of operations behind which the three channels need not be red, green and blue in that order."""


def reads_colors(graph: ModelGraph, layer: str, channel_order: ChannelOrder) -> bool:
    """Tell whether the channels of a layer's filters are the colours of the picture.

    They are when the layer is a two-dimensional convolution of three ungrouped channels, and nothing between it and the
    picture can mix or reorder channels: a tensor with one number for each of them may be there (a mean that is
    subtracted, a normalization), a larger one may not, for then it is some inner layer that has three channels.
    """
    row = graph.layer(layer)
    geometry, weight, _ = graph.filters(layer)
    convolution = weight.ndim == 4 and weight.shape[1] == 3 and geometry.groups == 1 and not geometry.transposed
    return convolution and channel_order in ("rgb", "bgr") and _sees_picture(graph, row)


def _sees_picture(graph: ModelGraph, row: GraphLayer) -> bool:
    nodes = list(graph.module.graph.nodes)
    read = [node for node in nodes if node.op == "placeholder"]
    picture = read[graph.batching.picture] if graph.batching.picture is not None else None
    start = next(node for node in nodes if node.name == row.node)
    sources = list(ancestors([start]))
    inputs = [node for node in sources if node.op == "placeholder"]
    return inputs == [picture] and all(_keeps_channels(graph, row, node) for node in sources)


def _keeps_channels(graph: ModelGraph, row: GraphLayer, node: fx.Node) -> bool:
    if node.op == "placeholder":
        return True
    if node.op == "get_attr":
        target = str(node.target)
        value = _attribute(graph, target)
        own = row.filters is not None and target in (row.filters.weight, row.filters.bias)
        return own or not isinstance(value, Tensor) or value.numel() <= 3
    name = getattr(node.target, "__name__", str(node.target)).lower()
    return not any(part in name for part in _REORDERING)


def _attribute(graph: ModelGraph, target: str) -> object:
    holder, _, name = target.rpartition(".")
    return getattr(graph.module.get_submodule(holder), name)

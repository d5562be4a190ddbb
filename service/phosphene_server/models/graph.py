"""The ModelGraph: a trained network as a differentiable graph of named activations.

Every importer ends here. The graph is a `torch.fx.GraphModule` in functional, never in-place, operations, so that an
activation that was read stays what it was; beside it stands a table from the author's layer names to nodes. It can be
evaluated at any batch size (see batching.py) and cut at the layers that a request needs: what lies behind them is not
in the cut graph, so it costs nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, fx

from phosphene_server.errors import LayerUnusable, NotFound, nearest_names
from phosphene_server.models.batching import FIRST, Batching, evaluate_in_chunks, pictures_first
from phosphene_server.values.model import TensorSpecification

MAXIMUM_CUTS = 128
"""Cut graphs that a model keeps: jobs that step together ask for any set of layers."""


@dataclass(frozen=True)
class FilterGeometry:
    """How a layer slides its filters; all tuples have one entry per spatial axis, none for a linear layer."""

    weight: str
    """Name of the weight in the graph module (its `get_attr` target)."""
    bias: str | None
    stride: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    """Zeros before and after, for each spatial axis."""
    dilation: tuple[int, ...] = ()
    groups: int = 1
    transposed: bool = False


@dataclass(frozen=True)
class GraphLayer:
    """A row of the layer table: a named activation and where it is."""

    name: str
    """The name that the model's author gave it."""
    kind: str
    """What computes it: `convolution`, `transposed_convolution`, `linear`, `batch_normalization`, `relu`, `max_pool`,
    `average_pool`, `concatenation`, `addition`, `softmax`, ... or `module` for a named group of operations."""
    node: str
    """The fx node whose value it is."""
    parameters: tuple[str, ...] = ()
    """The trained tensors that belong to it (`get_attr` targets)."""
    filters: FilterGeometry | None = None


def filter_first(geometry: FilterGeometry, weight: Tensor) -> Tensor:
    """Bring a weight into the order (filter, channel, spatial...).

    That of a transposed layer is (channel, filter / groups, spatial...): the channels of the first group come first,
    and the filters of a group are those that its channels share.
    """
    if not geometry.transposed:
        return weight
    channels, filters, *spatial = weight.shape
    grouped = weight.reshape(geometry.groups, channels // geometry.groups, filters, *spatial)
    return grouped.transpose(1, 2).reshape(geometry.groups * filters, channels // geometry.groups, *spatial)


def ancestors(nodes: Iterable[fx.Node]) -> Iterator[fx.Node]:
    """Yield every node that some nodes are computed from, once, and none of those nodes themselves."""
    seen = set(nodes)
    waiting = list(seen)
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in seen:
                seen.add(source)
                waiting.append(source)
                yield source


class CutGraph:
    """A part of a ModelGraph: from the input to some layers, and nothing behind them."""

    def __init__(self, module: fx.GraphModule, layers: tuple[str, ...], batching: Batching | None = None) -> None:
        self.module = module
        self.layers = layers
        self.batching = batching or Batching()

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Evaluate the layers.

        Args:
            inputs: The model's own inputs, already preprocessed, of any number of pictures; those that the graph's
                batching does not call shared have a batch axis in front.

        Returns:
            The activation of each layer, by name, with the pictures along its first axis. Gradients reach the inputs.
        """
        return dict(zip(self.layers, evaluate_in_chunks(self.module, inputs, self.batching), strict=True))


class ModelGraph:
    """A differentiable network with a table of named layers."""

    def __init__(
        self,
        module: fx.GraphModule,
        layers: Sequence[GraphLayer],
        *,
        inputs: Sequence[TensorSpecification],
        outputs: Sequence[TensorSpecification],
        producer: str = "",
    ) -> None:
        """Take a graph whose placeholders are `inputs` in order and whose output is the tuple of `outputs`."""
        self.module = module
        self.layers: Mapping[str, GraphLayer] = {layer.name: layer for layer in layers}
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.producer = producer
        self.batching = Batching()
        self._turned: fx.GraphModule | None = None
        """The whole network with outputs whose pictures come first, where they do not by themselves."""
        self._cuts: dict[tuple[str, ...], CutGraph] = {}

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Evaluate the outputs of the whole network, with the pictures along their first axes."""
        return evaluate_in_chunks(self._whole(), inputs, self.batching)

    @property
    def dtype(self) -> torch.dtype:
        """The type of its trained tensors, and so of the pictures that it is shown; float32 where it has none."""
        # Lazily: this is read at every step, and nearly always the first tensor tells.
        tensors = chain(self.module.parameters(), self.module.buffers())
        return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)

    @property
    def output_nodes(self) -> tuple[fx.Node, ...]:
        """The nodes whose values are the outputs."""
        result = next(node for node in reversed(self.module.graph.nodes) if node.op == "output")
        nodes: tuple[fx.Node, ...] = result.args[0]
        return nodes

    def set_batching(self, batching: Batching) -> None:
        """Take how it takes a batch; until then it takes any, and activations come as its nodes give them."""
        self.batching = batching
        self._turned = None
        self._cuts.clear()

    def has_pictures(self, name: str) -> bool:
        """Tell whether a layer has an activation of each picture, as far as that is known."""
        return self.batching.axes.get(self.layer(name).node, FIRST) is not None

    def layer(self, name: str, *, field: str = "layer") -> GraphLayer:
        """Return a row of the layer table.

        Raises:
            NotFound: no layer has that name; the error has the nearest names.
        """
        try:
            return self.layers[name]
        except KeyError:
            raise NotFound("layer", name, nearest_names(name, self.layers), field) from None

    def cut(self, names: Iterable[str]) -> CutGraph:
        """Return the graph from the inputs to the named layers.

        The same set of names gives the same object again, as long as it is one of the last `MAXIMUM_CUTS` that were
        asked for. Parameters are shared, not copied.

        Raises:
            NotFound: no layer has one of the names.
        """
        key = tuple(sorted(set(names)))
        cut = self._cuts.pop(key, None)
        if cut is None:
            nodes = [self.layer(name).node for name in key]
            cut = CutGraph(_cut_module(self.module, nodes, self.batching), key, self.batching)
        self._cuts[key] = cut  # the last of all, so that the one that was used longest ago is the first
        if len(self._cuts) > MAXIMUM_CUTS:
            del self._cuts[next(iter(self._cuts))]
        return cut

    def filters(self, name: str, *, field: str = "layer") -> tuple[FilterGeometry, Tensor, Tensor | None]:
        """Return how a layer slides its filters, its weight as the operation takes it, and its bias.

        Raises:
            NotFound: no layer has that name.
            LayerUnusable: the layer has no filters.
        """
        layer = self.layer(name, field=field)
        if layer.filters is None:
            having = [other.name for other in self.layers.values() if other.filters is not None]
            near = ", ".join(nearest_names(name, having) or having[:3])
            raise LayerUnusable(name, f"({layer.kind}) has no filters; layers that have: {near}", field)
        bias = self.tensor(layer.filters.bias) if layer.filters.bias is not None else None
        return layer.filters, self.tensor(layer.filters.weight), bias

    def tensor(self, target: str) -> Tensor:
        """Return a tensor of the graph module by its `get_attr` target."""
        holder, _, name = target.rpartition(".")
        tensor: Tensor = getattr(self.module.get_submodule(holder), name)
        return tensor

    def to(
        self,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> "ModelGraph":
        """Move the parameters, in place; floating-point ones also to `dtype`. Returns itself.

        The memory format is that of parameters with four axes; `torch.channels_last` makes convolutions faster.
        """
        self.module.to(device=device, dtype=dtype)
        if memory_format is not None:
            # Not `Module.to`, which refuses to lay out tensors with five axes like those with four.
            for tensor in (*self.module.parameters(), *self.module.buffers()):
                if tensor.ndim == 4:
                    tensor.data = tensor.data.contiguous(memory_format=memory_format)
        self._turned = None
        self._cuts.clear()
        return self

    def layer_shapes(self, nodes: Mapping[str, tuple[int, ...]], *, batch: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of every layer's activation of `batch` pictures, with the pictures along its first axis.

        Args:
            nodes: The shapes of the nodes' values for as many pictures, or for as many of them as the graph takes.
            batch: The number of pictures.
        """
        rows = [layer for layer in self.layers.values() if layer.node in nodes]
        return {layer.name: self._pictures_first(layer.node, nodes[layer.node], batch) for layer in rows}

    def _whole(self) -> fx.GraphModule:
        outputs = [node.name for node in self.output_nodes]
        if not any(self.batching.axes.get(name) for name in outputs):
            return self.module
        if self._turned is None:
            self._turned = _cut_module(self.module, outputs, self.batching)
        return self._turned

    def _pictures_first(self, node: str, shape: tuple[int, ...], batch: int) -> tuple[int, ...]:
        """Return the shape that `cut` gives for a node whose value has a shape in one chunk."""
        axis, size = self.batching.axes.get(node, FIRST), self.batching.size
        if axis is None or self.batching.picture is None:
            return shape
        if node in self.batching.axes:
            shape = axis.shape(shape, batch=size or batch)
        return shape if size is None else (batch, *shape[1:])


def _cut_module(module: fx.GraphModule, names: Sequence[str], batching: Batching) -> fx.GraphModule:
    """Copy the ancestors of the named nodes, and nothing else, into a graph that returns those nodes, pictures first.

    Collecting ancestors instead of eliminating dead code matters: fx takes dropout for impure and would keep it, and
    with it nearly the whole network.
    """
    nodes = {node.name: node for node in module.graph.nodes}
    targets = [nodes[name] for name in names]
    needed = {*targets, *ancestors(targets)}
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in module.graph.nodes:
        if node in needed or node.op == "placeholder":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(_with_pictures_first(graph, target.name, copies[target], batching) for target in targets))
    return fx.GraphModule(module, graph)


def _with_pictures_first(graph: fx.Graph, name: str, copy: fx.Node, batching: Batching) -> fx.Node:
    """Add what turns the value of a node so that its pictures come first, where they do not."""
    axis = batching.axes.get(name)
    if axis is None or batching.picture is None:
        return copy
    pictures = [node for node in graph.nodes if node.op == "placeholder"][batching.picture]
    return graph.call_function(pictures_first, (copy, pictures, axis.axis, axis.several))

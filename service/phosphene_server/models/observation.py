"""What a graph computes at its layers and outputs, noted without keeping it.

Two runs are compared by *sketches*: for each picture the projection of its activation on a random direction, and its
length. If two activations differ by a vector, their projections differ by about its length, whatever their size.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from phosphene_server.errors import ModelUnusable
from phosphene_server.models.batching import Shape, picture_axis
from phosphene_server.models.graph import ModelGraph

TOLERANCE = 1e-3
"""How far a picture's activation may change in company, relative to its length: rounding stays far below it, and a
quantized value that falls on the other side of a step is still within it."""

DIRECTION_SEED = 20170711
"""The direction is always the same."""

MOST_NUMBERS = 2**15
"""The numbers of an activation that a sketch looks at, evenly spread over it."""

MOST_BYTES = 2**30
"""What one value may take for one or two pictures; a file of a few bytes could otherwise ask for all memory."""


@dataclass(frozen=True, eq=False)
class Observation:
    """What was noted of a run, by node."""

    shapes: dict[str, Shape]
    sketches: dict[str, Tensor]
    """Of floating-point values that have something for each picture, (picture, 2)."""


def observe(
    graph: ModelGraph, inputs: tuple[Tensor, ...], *, alone_shapes: Mapping[str, Shape] | None = None
) -> Observation:
    """Evaluate a graph and note what its layers and outputs are.

    Args:
        graph: The graph.
        inputs: Its inputs, of one picture, or of two pictures if there is `alone_shapes`.
        alone_shapes: What was noted of one of the two alone: where they are in an activation follows from its shapes.

    Raises what the graph raises for inputs that it does not take.
    """
    watched = {node.name for node in graph.output_nodes} | {layer.node for layer in graph.layers.values()}
    observer = _Observer(graph.module, watched, alone_shapes)
    with torch.no_grad():
        observer.run(*inputs)
    return observer.found


def agree(together: Tensor, alone: Tensor) -> bool:
    """Compare two sketches, (2,) each; what is not finite in both says nothing."""
    if not bool(together.isfinite().all()):
        return not bool(alone.isfinite().all())
    length = max(float(alone[1]), float(together[1]))
    return bool(((together - alone).abs() <= TOLERANCE * length + torch.finfo(torch.float32).tiny).all())


def values_of(graph: ModelGraph, inputs: Sequence[Tensor], nodes: Collection[str]) -> dict[str, Tensor]:
    """Return the values of some nodes, as the nodes give them."""
    keeper = _Keeper(graph.module, nodes)
    with torch.no_grad():
        keeper.run(*inputs)
    return keeper.values


class _Observer(fx.Interpreter):
    """Runs a graph and notes the shapes and the sketches of some nodes."""

    def __init__(self, module: fx.GraphModule, watched: set[str], alone_shapes: Mapping[str, Shape] | None) -> None:
        super().__init__(module)
        self._watched = watched
        self._alone_shapes = alone_shapes
        self._direction = torch.randn(MOST_NUMBERS, generator=torch.Generator().manual_seed(DIRECTION_SEED))
        self.found = Observation({}, {})

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and value.nbytes > MOST_BYTES:
            raise ModelUnusable("", f"its value {n.name} takes {value.nbytes / 2**30:.1f} GiB for a picture or two")
        if n.name in self._watched and isinstance(value, Tensor):
            self.found.shapes[n.name] = tuple(value.shape)
            if value.is_floating_point() and (pictures := self._each_picture(n.name, value)) is not None:
                self.found.sketches[n.name] = self._sketch(pictures)
        return value

    def _each_picture(self, node: str, value: Tensor) -> Tensor | None:
        """Return an activation as (picture, number), None where it has none for each."""
        if self._alone_shapes is None:
            return value.reshape(1, -1)
        axis = picture_axis(self._alone_shapes.get(node, ()), tuple(value.shape))
        if axis is None or (axis.several and axis.axis):
            return None  # with several entries away from the first axis the order differs from that of one picture
        return value.movedim(axis.axis, 0).reshape(2, -1)

    def _sketch(self, pictures: Tensor) -> Tensor:
        count = pictures.shape[1]
        sample = pictures[:, :: -(-count // MOST_NUMBERS) or 1].float()
        return torch.stack([sample @ self._direction[: sample.shape[1]], sample.norm(dim=1)], dim=1)


class _Keeper(fx.Interpreter):
    """Runs a graph and keeps the values of some nodes."""

    def __init__(self, module: fx.GraphModule, nodes: Collection[str]) -> None:
        super().__init__(module)
        self._nodes = nodes
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self._nodes:
            self.values[n.name] = value
        return value

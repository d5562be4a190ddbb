"""What a graph does with pictures, found out by trying: at load a few random ones are shown to it.

    one picture                    shapes of the layers, and the picture on which parity is measured
    two, together and alone        does it take any batch, or does its file fix one? Where are the pictures in a layer?
    a larger picture               does it take any size?

An exporter that was shown one picture may have written its batch of 1, or its size, into the graph. Such a graph may
refuse two pictures, or mix them and refuse nothing; so what it computes for two together is compared with what it
computes for each alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from phosphene_server.errors import InvalidArgument, ModelUnusable, first_line
from phosphene_server.models.batching import (
    FIRST,
    Batching,
    PictureAxis,
    Shape,
    picture_axis,
    possible_axes,
)
from phosphene_server.models.graph import ModelGraph, ancestors
from phosphene_server.models.inputs import Reading, feed, fitted, tensor_of
from phosphene_server.models.observation import agree, observe, values_of
from phosphene_server.models.preprocessing import SPATIAL_AXES
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import Preprocessing

PROBE_SEED = 20170711
"""The random pictures on which a model is measured are always the same."""

OTHER_SIZE_PIXELS = 32
"""How much larger the second size is, which tells whether the network takes pictures of any size."""

OTHER_BATCHES = (1, 2, 4, 8)
"""Batches that are tried where the graph takes neither any nor the one that its file declares."""

MOST_CHARACTERS = 500
"""Of a message of torch that is handed on."""

EVALUATION_ERRORS = (
    *(RuntimeError, ValueError, IndexError, TypeError, ArithmeticError, AssertionError, KeyError),
    InvalidArgument,  # a scripted module that would take another branch for this size
)
"""What a graph raises for inputs that it does not take."""


@dataclass(frozen=True, eq=False)
class Probe:
    """What was found out."""

    inputs: tuple[Tensor, ...]
    """Inputs that the file itself accepts: of its batch and size where it declares them."""
    own_inputs: tuple[Tensor, ...]
    """Inputs of the model's own size, of as few pictures as the graph takes."""
    batching: Batching
    shapes: Mapping[str, Shape]
    """The shapes of the nodes that are layers or outputs, for as few pictures of the model's own size as it takes."""
    preprocessing: Preprocessing


def probe(graph: ModelGraph, reading: Reading, *, name: str) -> Probe:
    """Find out which batches and sizes a graph takes.

    Inputs that are no picture and have no default are full of ones, or of zeros where it cannot be evaluated on ones.

    Raises:
        ModelUnusable: it cannot be evaluated at the size that its manifest gives.
    """
    own = reading.preprocessing.size if reading.picture is not None else None
    problem: Exception | None = None
    for fill in (1.0, 0.0) if reading.required else (1.0,):
        try:
            return _probe(graph, reading, own, fill)
        except ModelUnusable as error:
            error.model = name
            raise
        except EVALUATION_ERRORS as error:
            problem = problem or error
    assert problem is not None
    # The first line alone: torch adds where in the graph it was, and how to debug compilers.
    raise ModelUnusable(
        name, f"it does not take {_shown(reading, own)}: {first_line(problem)[:MOST_CHARACTERS]}"
    ) from problem


def _shown(reading: Reading, size: ImageSize | None) -> str:
    """Return what was shown to a graph in vain, as a phrase."""
    if size is None:
        return "inputs of the shapes that its file declares"
    channels, sides = len(reading.preprocessing.mean), (size.height, size.width)
    shape = (channels, *sides) if reading.preprocessing.layout == "nchw" else (*sides, channels)
    return f"an input of shape {shape} (the manifest's)"


def _probe(graph: ModelGraph, reading: Reading, own: ImageSize | None, fill: float) -> Probe:
    if own is None:
        inputs = _inputs(graph, reading, None, fill=fill)
        return Probe(inputs, inputs, Batching(picture=None), observe(graph, inputs).shapes, reading.preprocessing)
    batching, shapes = _find_batching(graph, reading, fill)
    takes_any_size = not reading.preprocessing.fixed_size and _takes_other_sizes(graph, reading, fill, batching)
    count, shared = declared_batch(reading), batching.shared
    return Probe(
        _inputs(graph, reading, _declared_size(reading), fill=fill, count=count, shared=shared),
        _inputs(graph, reading, own, fill=fill, count=batching.size or 1, shared=shared),
        batching,
        shapes,
        replace(reading.preprocessing, fixed_size=not takes_any_size),
    )


def declared_batch(reading: Reading) -> int:
    """Return how many pictures the file takes at once, 1 where it leaves that open."""
    shape = reading.inputs[reading.picture].shape if reading.picture is not None else ()
    return max(shape[0], 1) if shape else 1


# What is shown to the graph


def random_pictures(size: ImageSize, *, count: int) -> Tensor:
    """Return random pictures, (count, 3, height, width) in [0, 1], that differ in brightness too; always the same."""
    generator = torch.Generator().manual_seed(PROBE_SEED)
    pictures = torch.rand(count, 3, size.height, size.width, generator=generator)
    brightness = torch.linspace(1.0, 0.5, count).reshape(-1, 1, 1, 1)
    return pictures * brightness


def _inputs(
    graph: ModelGraph,
    reading: Reading,
    size: ImageSize | None,
    *,
    fill: float,
    count: int = 1,
    shared: frozenset[int] | None = None,
) -> tuple[Tensor, ...]:
    """Return random pictures of a size, and what goes with them, as inputs of the graph."""
    alone = reading.shared() if shared is None else shared
    seen = size or reading.preprocessing.size
    others: dict[str, Tensor] = {}
    for position, entry in reading.others.items():
        batched = position not in alone
        value = reading.defaults.get(entry.name, torch.tensor(fill).numpy())
        tensor = tensor_of(
            fitted(reading, position, value, seen, batched=batched), dtype=graph.dtype, device=torch.device("cpu")
        )
        others[entry.name] = tensor.expand(count, *tensor.shape[1:]) if batched and len(tensor) == 1 else tensor
    free = replace(reading, preprocessing=replace(reading.preprocessing, fixed_size=False))
    pictures = None if size is None else random_pictures(size, count=count).to(graph.dtype)
    return tuple(
        tensor.round() if position == reading.picture and "float" not in reading.inputs[position].data_type else tensor
        for position, tensor in enumerate(feed(free, pictures, others))
    )


def _declared_size(reading: Reading) -> ImageSize:
    """Return the size of pictures that the file itself accepts: the one that it declares, else the model's own."""
    own = reading.preprocessing.size
    shape = reading.inputs[reading.picture or 0].shape
    if len(shape) != 4:
        return own
    height, width = (shape[axis] for axis in SPATIAL_AXES[reading.preprocessing.layout])
    return ImageSize(height if height > 0 else own.height, width if width > 0 else own.width)


# Which batches it takes


def _find_batching(graph: ModelGraph, reading: Reading, fill: float) -> tuple[Batching, dict[str, Shape]]:
    """Return how a graph takes a batch, and the shapes of its nodes for the smallest batch that it takes.

    It takes any batch if it can, else the one that its file declares, else the smallest that it can.

    Raises:
        ValueError: it takes none.
    """
    for shared in dict.fromkeys((reading.shared(), frozenset(reading.others))):
        try:
            return _any_batch(graph, reading, fill, shared)
        except (*EVALUATION_ERRORS, _PicturesMix):
            continue
    problem: Exception | None = None
    for size in dict.fromkeys((declared_batch(reading), *OTHER_BATCHES)):
        try:
            return _fixed_batch(graph, reading, fill, size)
        except (*EVALUATION_ERRORS, _PicturesMix) as error:
            problem = problem or error
    raise ValueError(str(problem)) from problem


class _PicturesMix(Exception):
    """What a graph computes of a batch is not what it computes of each picture."""

    def __str__(self) -> str:
        return "its outputs do not have one entry for each picture"


def _any_batch(
    graph: ModelGraph, reading: Reading, fill: float, shared: frozenset[int]
) -> tuple[Batching, dict[str, Shape]]:
    """Return how the graph takes any batch, and its shapes for one picture.

    Raises:
        _PicturesMix: it computes something else for two pictures together.
    """
    assert reading.picture is not None
    both = _inputs(graph, reading, reading.preprocessing.size, fill=fill, count=2, shared=shared)
    first, second = (
        tuple(value if position in shared else value[index : index + 1] for position, value in enumerate(both))
        for index in (0, 1)
    )
    alone = [observe(graph, inputs) for inputs in (first, second)]
    together = observe(graph, both, alone_shapes=alone[0].shapes)
    axes = {node: picture_axis(alone[0].shapes[node], shape) for node, shape in together.shapes.items()}
    if not all(_rows_are_pictures(graph, output, axes) for output in graph.output_nodes):
        raise _PicturesMix
    for node, sketches in together.sketches.items():
        if any(not agree(sketches[index], alone[index].sketches[node][0]) for index in (0, 1)):
            raise _PicturesMix
    elsewhere = {node: axis for node, axis in axes.items() if axis != FIRST}
    return Batching(reading.picture, shared, None, elsewhere), alone[0].shapes


def _fixed_batch(graph: ModelGraph, reading: Reading, fill: float, size: int) -> tuple[Batching, dict[str, Shape]]:
    """Return how the graph takes batches of one size alone, and its shapes for one; raises what the graph raises."""
    inputs = _inputs(graph, reading, reading.preprocessing.size, fill=fill, count=size)
    shapes = observe(graph, inputs).shapes
    possible = {node: possible_axes(shape, batch=size) for node, shape in shapes.items()}
    unclear = {node: axes for node, axes in possible.items() if len(axes) > 1}
    axes: dict[str, PictureAxis | None] = {node: found[0] for node, found in possible.items() if len(found) == 1}
    if unclear:
        axes |= _axes_by_value(graph, inputs, unclear, reading.picture or 0)
    found = {node: axes.get(node) for node in shapes}
    if not all(_rows_are_pictures(graph, output, found) for output in graph.output_nodes):
        raise _PicturesMix
    elsewhere = {node: axis for node, axis in found.items() if axis != FIRST}
    return Batching(reading.picture, reading.shared(), size, elsewhere), shapes


def _axes_by_value(
    graph: ModelGraph, inputs: tuple[Tensor, ...], possible: Mapping[str, tuple[PictureAxis, ...]], picture: int
) -> dict[str, PictureAxis | None]:
    """Choose among axes: where all pictures but the first are others, all entries but those of the first are others."""
    pictures = inputs[picture]
    others = torch.cat([pictures[:1], pictures[1:] * 0.5])
    before = values_of(graph, inputs, possible)
    after = values_of(graph, (*inputs[:picture], others, *inputs[picture + 1 :]), possible)
    found: dict[str, PictureAxis | None] = {}
    for node, axes in possible.items():
        fitting = (axis for axis in axes if _only_first_is_same(before[node], after[node], axis, len(pictures)))
        found[node] = next(fitting, None)
    return found


def _only_first_is_same(before: Tensor, after: Tensor, axis: PictureAxis, count: int) -> bool:
    one, two = (value.movedim(axis.axis, 0).reshape(count, -1).double() for value in (before, after))
    return torch.allclose(one[0], two[0]) and not torch.allclose(one[1:], two[1:])


def _rows_are_pictures(graph: ModelGraph, output: fx.Node, axes: Mapping[str, PictureAxis | None]) -> bool:
    """Tell whether an output has its pictures along the first axis, or does not depend on them.

    A graph with a batch written into it may run all the same, and lay two pictures beside one another.
    """
    axis = axes.get(output.name, FIRST)
    reached = any(node.op == "placeholder" for node in ancestors([output]))
    return not reached or (axis is not None and axis.axis == 0)


# Which sizes it takes


def _takes_other_sizes(graph: ModelGraph, reading: Reading, fill: float, batching: Batching) -> bool:
    """Tell whether the network runs on a larger picture too; fully connected layers after a flatten do not.

    A flatten to a fixed number of features may make several rows of a larger picture, which shows in the outputs.
    """
    size = reading.preprocessing.size
    larger = ImageSize(size.height + OTHER_SIZE_PIXELS, size.width + OTHER_SIZE_PIXELS)
    count = batching.size or 1
    try:
        inputs = _inputs(graph, reading, larger, fill=fill, count=count, shared=batching.shared)
        shapes = observe(graph, inputs).shapes
    except EVALUATION_ERRORS:
        return False
    outputs = [node.name for node in graph.output_nodes if node.name in shapes and node.name not in batching.axes]
    return all(shapes[name][:1] == (count,) for name in outputs)

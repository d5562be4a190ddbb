"""Any batch size, whatever batch a file was exported with.

A graph evaluates its pictures all at once, or, where its file fixes the batch, in chunks of that many: the last chunk
is filled up with repetitions of its last picture, which are cut off again.

    pictures 0 1 2 3 4, a batch of 2       0 1 │ 2 3 │ 4 4       ─graph─>      0 1 2 3 4 (4)

What comes out has the pictures along its first axis. Inside of a network they may be elsewhere: torch's attention has
(position, picture, feature), and a Swin transformer (picture * window, position, feature). Such activations are turned
so that the pictures come first; those of one picture lie beside one another in every network that we know.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class PictureAxis:
    """Where an activation has its pictures."""

    axis: int = 0
    several: bool = False
    """Whether this axis has several entries for each picture; they get an axis of their own behind the pictures."""

    def shape(self, shape: Shape, *, batch: int) -> Shape:
        """Return the shape of an activation with its pictures first."""
        if not shape:
            return (1,)
        length = shape[self.axis]
        rest = shape[: self.axis] + shape[self.axis + 1 :]
        return (batch, length // batch, *rest) if self.several else (length, *rest)


FIRST = PictureAxis()


@dataclass(frozen=True)
class Batching:
    """How a graph takes a batch."""

    picture: int | None = 0
    """The position of the pictures among the inputs; None: it reads none."""
    shared: frozenset[int] = frozenset()
    """The positions of the inputs that have no batch axis."""
    size: int | None = None
    """The only number of pictures that the graph takes; None: any."""
    axes: Mapping[str, PictureAxis | None] = field(default_factory=dict)
    """The nodes whose pictures are not simply along the first axis; None: they have none."""


def picture_axis(alone: Shape, together: Shape) -> PictureAxis | None:
    """Return where an activation has its pictures, by its shape for one picture and for two; None: nowhere."""
    if len(alone) != len(together):
        return None
    grown = [axis for axis, (one, two) in enumerate(zip(alone, together, strict=True)) if one != two]
    if len(grown) != 1 or together[grown[0]] != 2 * alone[grown[0]]:
        return None
    return PictureAxis(grown[0], several=alone[grown[0]] > 1)


def possible_axes(shape: Shape, *, batch: int) -> tuple[PictureAxis, ...]:
    """Return where an activation may have its pictures, by its shape in a graph that takes one batch alone.

    A graph that takes one picture at a time gives all that it computes for that picture.
    """
    if batch == 1:
        return (PictureAxis(several=shape[:1] != (1,)),)
    if shape[:1] == (batch,):
        return (FIRST,)
    fitting = [axis for axis, length in enumerate(shape) if length and length % batch == 0]
    return tuple(PictureAxis(axis, several=shape[axis] > batch) for axis in fitting)


def pictures_first(activation: Tensor, pictures: Tensor, axis: int, several: bool) -> Tensor:
    """Turn an activation so that its first axis is the pictures.

    Args:
        activation: What a node computes, for all of `pictures`.
        pictures: The input, (batch, ...).
        axis: Where the activation has the pictures.
        several: Whether that axis has several entries for each.
    """
    if activation.dim() == 0:
        return activation.reshape(1)
    moved = activation.movedim(axis, 0)
    return moved.reshape(pictures.shape[0], -1, *moved.shape[1:]) if several else moved


def evaluate_in_chunks(
    evaluate: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], batching: Batching
) -> tuple[Tensor, ...]:
    """Evaluate a function of a graph's inputs on any number of pictures.

    Args:
        evaluate: Takes inputs of the batch that the graph takes, and gives tensors with the pictures first.
        inputs: All inputs, with any number of pictures; inputs behind those of the graph have a batch axis.
        batching: How the graph takes a batch.

    Raises:
        RuntimeError: a result does not have one entry for each picture.
    """
    size, picture = batching.size, batching.picture
    if size is None or picture is None or len(inputs[picture]) == size:
        return tuple(evaluate(*inputs))
    batch = len(inputs[picture])
    chunks = [evaluate(*_chunk(inputs, batching, start, size)) for start in range(0, batch, size)]
    for value in chunks[0]:
        if value.shape[:1] != (size,):
            raise RuntimeError(f"a result of shape {list(value.shape)} has not one entry for each of {size} pictures")
    return tuple(torch.cat(parts)[:batch] for parts in zip(*chunks, strict=True))


def first_chunk(inputs: Sequence[Tensor], batching: Batching) -> tuple[Tensor, ...]:
    """Return inputs as the graph takes them: all of a batch, or as much of it as the graph takes at once."""
    size = batching.size
    return tuple(inputs) if size is None else _chunk(inputs, batching, 0, size)


def _chunk(inputs: Sequence[Tensor], batching: Batching, start: int, size: int) -> tuple[Tensor, ...]:
    return tuple(
        value if position in batching.shared else _filled(value[start : start + size], size)
        for position, value in enumerate(inputs)
    )


def _filled(values: Tensor, size: int) -> Tensor:
    """Repeat the last entry until there are `size`."""
    missing = size - len(values)
    return torch.cat([values, values[-1:].expand(missing, *values.shape[1:])]) if missing else values

"""What an ONNX value is during translation.

- A `Tensor`: known at import. Whatever follows from known values alone is computed at import and never again.
- An `fx.Node`: computed at run time, on the device of the graph.
- `Sizes`: a small array of numbers that follow from the shapes of activations, some of them fx nodes whose values are
  Python numbers. Exporters write `x.view(x.size(0), -1)` as Shape -> Gather -> Concat -> Reshape; as Sizes that is
  `torch.reshape(x, [size(x, 0), -1])` again: no tensors, no device, no gradient to break.
- `Items`: a sequence whose length is known at import. One that only run time knows is an fx node that gives a list.
- `NOTHING`: an optional value without an element, None at run time. With an element it is that element.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

MAXIMUM_CONSTANT = 2**27
"""Elements of a constant that is computed at import; half a gigabyte in float32."""


@dataclass(frozen=True, eq=False)
class Sizes:
    """A small array of numbers, each known or an fx node that computes it."""

    elements: NDArray[np.object_]
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class Items:
    """A sequence of values."""

    elements: "tuple[Value, ...]"


class Nothing:
    """An optional value without an element."""


NOTHING = Nothing()

Value = Tensor | fx.Node | Sizes | Items | Nothing


def sizes(elements: object, dtype: torch.dtype) -> Value:
    """Return an array of numbers and nodes as a value: a constant tensor if every number is known."""
    array = np.asarray(elements, dtype=object)
    if any(isinstance(element, fx.Node) for element in array.flat):
        return Sizes(array, dtype)
    return torch.tensor(array.tolist(), dtype=dtype).reshape(array.shape)


def size(tensor: Tensor, axis: int) -> int:
    """Return the length of an axis at run time."""
    return tensor.shape[axis]


def sizes_tensor(elements: list[float], shape: list[int], dtype: torch.dtype, reference: Tensor) -> Tensor:
    """Return sizes as a tensor on the device of `reference`, floating-point ones in its type."""
    dtype = reference.dtype if dtype.is_floating_point else dtype
    return torch.tensor(elements, dtype=dtype, device=reference.device).reshape(shape)

"""What an ONNX value is during translation.

- A `Tensor`: known at import. Whatever follows from known values alone is computed at import and never again.
- An `fx.Node`: computed at run time, on the device of the graph.
- `Sizes`: a small array of numbers that follow from the shapes of activations, some of them fx nodes whose values are
  Python numbers. Exporters write `x.view(x.size(0), -1)` as Shape -> Gather -> Concat -> Reshape; as Sizes that is
  `torch.reshape(x, [size(x, 0), -1])` again: no tensors, no device, no gradient to break.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx


@dataclass(frozen=True, eq=False)
class Sizes:
    """A small array of numbers, each known or an fx node that computes it."""

    elements: NDArray[np.object_]
    dtype: torch.dtype


Value = Tensor | fx.Node | Sizes


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

"""Example inputs of a model that does not say its own: shapes that are likely, one after the other."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from phosphene_server.models.importers.torchscript.signature import Signature

LENGTHS = (224, 32, 28, 64, 96, 128, 256, 299, 384, 512)
"""Picture sizes in pixels that are tried as the example of a scripted model, which does not say its own."""
SIZE_NAMES = ("image_size", "img_size", "input_size", "input_resolution", "resolution")
"""Attributes in which authors keep the size of picture that a model takes."""

Examples = list[Tensor | None]
"""Tensors on the meta device, or None where nothing is known."""


def candidates(module: Any, signature: Signature, size: tuple[int, int] | None) -> Iterator[Examples]:
    """Yield example inputs, likely ones first: what it was traced with, or what its first weight takes.

    Args:
        module: The model.
        signature: Its inputs.
        size: Height and width of picture that the model is known to take.
    """
    traced = [_meta(each.shape, each.dtype) if each is not None else None for each in signature.traced]
    if traced and all(example is not None for example in traced):
        yield list(traced)
        return
    weights = list(_weights(module))
    dtype = next((_computed_type(weight.dtype) for weight in weights if weight.is_floating_point()), torch.float32)
    for shape in _plausible_shapes(module, weights, size):
        yield [_meta(shape, dtype) for _ in signature.names]
    yield [None for _ in signature.names]


def _plausible_shapes(module: Any, weights: Sequence[Tensor], size: tuple[int, int] | None) -> list[tuple[int, ...]]:
    own = [(length, length) for length in _own_sizes(module)]
    pictures = list(dict.fromkeys([*([size] if size else []), *own, *((length, length) for length in LENGTHS)]))
    # A weight with four axes is a convolution's; one with fewer may be a token or an embedding.
    shaped = [weight for weight in weights if weight.dim() >= 2]
    weight = next((weight for weight in shaped if weight.dim() == 4), shaped[0] if shaped else None)
    if weight is None:
        return [(1, 3, *picture) for picture in pictures]
    axes, channels = weight.dim() - 2, weight.shape[1]
    if axes == 2:
        return [(1, channels, *picture) for picture in pictures]
    return [(1, channels, *(length,) * axes) for length in LENGTHS[: len(LENGTHS) if axes else 1]]


def _own_sizes(module: Any) -> list[int]:
    """Return the picture sizes that attributes of the model name."""
    found = [module.getattr(name) for name in SIZE_NAMES if module.hasattr(name)]
    numbers = [each[0] if isinstance(each, list | tuple) and each else each for each in found]
    return [number for number in numbers if isinstance(number, int) and 0 < number <= 4096]


def _weights(module: Any) -> Iterator[Tensor]:
    """Yield the trained tensors of a module and of those in it."""
    dictionary: Any = torch._C.ParameterDict
    for _, value in dictionary(module).items():
        yield value
    for _, child in torch._C.ModuleDict(module).items():
        yield from _weights(child)


def _meta(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=_computed_type(dtype), device="meta")


def _computed_type(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which the graph computes: half-precision weights are read as float32."""
    return torch.float32 if dtype in {torch.float16, torch.bfloat16} else dtype

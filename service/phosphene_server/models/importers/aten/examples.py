"""What operations give for examples: tensors on the meta device, that have a shape and a type but no numbers.

PyTorch answers that itself, but for common operations in Python, up to a millisecond each, and the first answer loads
its compiler and a computer algebra system, three seconds. The shapes of those operations are known here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def evaluate_example(function: Callable[..., Any], arguments: Sequence[Any], keywords: Mapping[str, Any]) -> Any:
    """Return what a function gives, for examples or for tensors with numbers; raises what the function raises."""
    rule = RULES.get(function)
    known = NotImplemented
    if rule is not None and _are_floating_examples(arguments):
        known = rule(*arguments, **keywords)
    return function(*arguments, **keywords) if known is NotImplemented else known


def _are_floating_examples(arguments: Sequence[Any]) -> bool:
    tensors = [each for argument in arguments for each in (argument if isinstance(argument, list) else [argument])]
    tensors = [each for each in tensors if isinstance(each, Tensor)]
    return bool(tensors) and all(each.is_meta and each.is_floating_point() for each in tensors)


def _same(tensor: Tensor, *others: Any, **options: Any) -> Tensor:
    return torch.empty_like(tensor)


def _broadcast(first: Any, second: Any, **options: Any) -> Tensor:
    shapes = [value.shape for value in (first, second) if isinstance(value, Tensor)]
    shape = torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]
    dtype = torch.result_type(first, second)
    for value in (first, second):
        if isinstance(value, Tensor) and value.shape == shape and value.dtype == dtype:
            return torch.empty_like(value)
    return torch.empty(shape, dtype=dtype, device="meta")


def _batch_norm(tensor: Tensor, *others: Any) -> Tensor:
    per_channel = [value for value in others if isinstance(value, Tensor)]
    if tensor.dim() < 2 or any(value.shape != tensor.shape[1:2] for value in per_channel):
        raise ValueError(f"statistics do not fit a tensor of shape {tuple(tensor.shape)}")
    return torch.empty_like(tensor)


def _layer_norm(tensor: Tensor, shape: Sequence[int], *others: Any) -> Tensor:
    if tuple(tensor.shape[-len(shape) :]) != tuple(shape):
        raise ValueError(f"normalization over {tuple(shape)} does not fit a tensor of shape {tuple(tensor.shape)}")
    return tensor.new_empty(tensor.shape)


def _linear(tensor: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if weight.dim() != 2 or tensor.shape[-1:] != weight.shape[1:]:
        raise ValueError(f"a weight of shape {tuple(weight.shape)} does not fit one of {tuple(tensor.shape)}")
    return tensor.new_empty([*tensor.shape[:-1], len(weight)])


def _matrix_product(first: Tensor, second: Tensor) -> Any:
    if first.dim() < 2 or second.dim() < 2:
        return NotImplemented
    if first.shape[-1] != second.shape[-2]:
        raise ValueError(f"matrices of shapes {tuple(first.shape)} and {tuple(second.shape)} have no product")
    lead = torch.broadcast_shapes(first.shape[:-2], second.shape[:-2])  # type: ignore[no-untyped-call]
    return first.new_empty([*lead, first.shape[-2], second.shape[-1]])


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, **options: Any) -> Any:
    lead = query.shape[:-2]
    if options.get("enable_gqa") or not lead == key.shape[:-2] == value.shape[:-2]:
        return NotImplemented
    scores = (*lead, query.shape[-2], key.shape[-2])
    fitting = query.shape[-1] == key.shape[-1] and key.shape[-2] == value.shape[-2]
    if not fitting or (mask is not None and torch.broadcast_shapes(mask.shape, scores) != scores):  # type: ignore[no-untyped-call]
        raise ValueError("queries, keys, values and mask do not fit one another")
    return query.new_empty([*lead, query.shape[-2], value.shape[-1]])


def _convolution(
    tensor: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: str | Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Any:
    axes = weight.dim() - 2
    if isinstance(padding, str):
        return NotImplemented
    if tensor.dim() != weight.dim() or tensor.shape[1] != weight.shape[1] * groups:
        raise ValueError(f"a kernel of shape {tuple(weight.shape)} does not fit a tensor of {tuple(tensor.shape)}")
    settings = zip(tensor.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    sides = [_windows(*each, ceil_mode=False) for each in settings]
    assert len(sides) == axes
    return tensor.new_empty([len(tensor), len(weight), *sides])


def _max_pool(
    tensor: Tensor, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *, ceil_mode: bool = False
) -> Any:
    pairs = [
        [each, each] if isinstance(each, int) else list(each) for each in (kernel, stride or kernel, padding, dilation)
    ]
    if any(len(pair) != 2 for pair in pairs):
        return NotImplemented
    settings = zip(tensor.shape[-2:], *pairs, strict=True)
    return tensor.new_empty([*tensor.shape[:-2], *(_windows(*each, ceil_mode=ceil_mode) for each in settings)])


def _average_pool(
    tensor: Tensor, kernel: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False, *others: Any
) -> Any:
    return _max_pool(tensor, kernel, stride, padding, ceil_mode=ceil_mode)


def _windows(length: int, kernel: int, stride: int, padding: int, dilation: int, *, ceil_mode: bool) -> int:
    """Return how many windows an axis has; with `ceil_mode` the last may reach over the end, but not start there."""
    free = length + 2 * padding - dilation * (kernel - 1) - 1
    count = (-(-free // stride) if ceil_mode else free // stride) + 1
    if ceil_mode and (count - 1) * stride >= length + padding:
        count -= 1
    if free < 0 or count < 1:
        raise ValueError(f"a window of {kernel} does not fit an axis of {length}")
    return count


def _concatenation(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    first = tensors[0]
    others = [[length for other, length in enumerate(each.shape) if other != axis % each.dim()] for each in tensors]
    if any(each.dtype != first.dtype or rest != others[0] for each, rest in zip(tensors, others, strict=True)):
        raise ValueError("the tensors cannot be joined")
    shape = list(first.shape)
    shape[axis] = sum(each.shape[axis] for each in tensors)
    return first.new_empty(shape)


def _adaptive_pool(tensor: Tensor, size: int | Sequence[int | None]) -> Tensor:
    sides = [size, size] if isinstance(size, int) else list(size)
    shape = [length if side is None else side for side, length in zip(sides, tensor.shape[-2:], strict=True)]
    return tensor.new_empty([*tensor.shape[:-2], *shape])


RULES: Mapping[Callable[..., Any], Callable[..., Any]] = {
    F.batch_norm: _batch_norm,
    F.layer_norm: _layer_norm,
    F.linear: _linear,
    F.conv1d: _convolution,
    F.conv2d: _convolution,
    F.conv3d: _convolution,
    F.max_pool2d: _max_pool,
    F.avg_pool2d: _average_pool,
    F.scaled_dot_product_attention: _attention,
    torch.matmul: _matrix_product,
    F.softmax: _same,
    F.relu: _same,
    F.relu6: _same,
    F.hardtanh: _same,
    F.leaky_relu: _same,
    F.hardswish: _same,
    F.hardsigmoid: _same,
    F.silu: _same,
    F.gelu: _same,
    torch.sigmoid: _same,
    torch.tanh: _same,
    torch.roll: _same,
    torch.add: _broadcast,
    torch.sub: _broadcast,
    torch.mul: _broadcast,
    torch.div: _broadcast,
    torch.cat: _concatenation,
    F.adaptive_avg_pool2d: _adaptive_pool,
}
"""Functions -> the example of their result, for floating-point examples; they refuse what the functions refuse."""

"""Normalization over batch statistics, layers, instances, groups and channels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.values import Value


def batch_normalization(operation: Operation) -> Value | tuple[Value, ...]:
    """BatchNormalization with the statistics of the file, or with those of the batch in its training mode."""
    if not operation.attribute("spatial", 1):
        raise operation.unsupported("statistics for each element")
    value, weight, bias, mean, variance = (operation.data(index) for index in range(5))
    epsilon = operation.attribute("epsilon", 1e-5)
    if operation.attribute("training_mode", 0):
        momentum = operation.attribute("momentum", 0.9)
        result = operation.call(F.batch_norm, value, None, None, weight, bias, training=True, eps=epsilon)
        moments = operation.evaluate(followed_moments, value, mean, variance, momentum)
        return result, *operation.parts(moments, 2)
    if operation.wants(1):
        raise operation.unsupported("training mode in the form of operator sets before 14")
    if not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
        return operation.call(normalize_by, value, mean, variance, weight, bias, epsilon)
    # F.batch_norm takes the running statistics before weight and bias; the flag keeps it from changing them.
    return operation.call(F.batch_norm, value, mean, variance, weight, bias, training=False, momentum=0.0, eps=epsilon)


def normalize_by(
    tensor: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, epsilon: float
) -> Tensor:
    """Normalize channels of (batch, channel, spatial...) by computed moments; for `F.batch_norm` they are constants."""
    shape = (-1, *[1] * (tensor.ndim - 2))
    scale = weight * torch.rsqrt(variance + epsilon)
    return tensor * scale.reshape(shape) + (bias - mean * scale).reshape(shape)


def followed_moments(tensor: Tensor, mean: Tensor, variance: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
    """Return the running mean and variance after a batch (batch, channel, spatial...); `momentum` is the share kept."""
    own_variance, own_mean = torch.var_mean(tensor.transpose(0, 1).flatten(1), 1, correction=0)
    return momentum * mean + (1 - momentum) * own_mean, momentum * variance + (1 - momentum) * own_variance


def layer_normalization(operation: Operation) -> Value | tuple[Value, ...]:
    """LayerNormalization over all axes from `axis` on; its optional outputs are the mean and 1 / deviation."""
    value, weight, bias = operation.data(0), operation.data(1), operation.optional(2)
    axis, epsilon = operation.attribute("axis", -1), operation.attribute("epsilon", 1e-5)
    rank = operation.rank(0)
    axes = -axis if axis < 0 else None if rank is None else rank - axis
    if isinstance(weight, Tensor) and weight.ndim == axes and not operation.wants(1) and not operation.wants(2):
        return operation.call(F.layer_norm, value, tuple(weight.shape), weight, bias, epsilon)
    moments = operation.evaluate(layer_moments, value, axis, epsilon)
    mean, inverse = operation.parts(moments, 2)
    result = operation.call(scaled_layer, value, mean, inverse, weight, bias)
    return result, mean, inverse


def layer_moments(tensor: Tensor, axis: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the mean over all axes from `axis` on, and 1 / sqrt(variance + epsilon)."""
    axes = tuple(range(axis % tensor.ndim, tensor.ndim))
    variance, mean = torch.var_mean(tensor, dim=axes, correction=0, keepdim=True)
    return mean, torch.rsqrt(variance + epsilon)


def scaled_layer(tensor: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return (x - mean) * inverse * weight + bias."""
    normalized = (tensor - mean) * inverse * weight
    return normalized if bias is None else normalized + bias


def instance_normalization(operation: Operation) -> Value:
    """InstanceNormalization: every channel of every picture by its own statistics."""
    value, weight, bias = (operation.data(index) for index in range(3))
    epsilon = operation.attribute("epsilon", 1e-5)
    # F.instance_norm is this after a check that refuses planes of one element, which ONNX allows.
    return operation.call(torch.instance_norm, value, weight, bias, None, None, True, 0.0, epsilon, False)


def group_normalization(operation: Operation) -> Value:
    """GroupNormalization, which scales each channel since opset 21, before each group."""
    value, weight, bias = (operation.data(index) for index in range(3))
    groups, epsilon = operation.attribute("num_groups"), operation.attribute("epsilon", 1e-5)
    if operation.opset < 21:
        return operation.call(normalize_groups, value, groups, weight, bias, epsilon)
    return operation.call(F.group_norm, value, groups, weight, bias, epsilon)


def normalize_groups(tensor: Tensor, groups: int, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Normalize groups of channels, each with a weight and a bias of its own."""
    channels = tensor.shape[1] // groups
    return F.group_norm(tensor, groups, weight.repeat_interleave(channels), bias.repeat_interleave(channels), epsilon)


def rms_normalization(operation: Operation) -> Value:
    """RMSNormalization over all axes from `axis` on."""
    axis, epsilon = operation.attribute("axis", -1), operation.attribute("epsilon", 1e-5)
    value, weight, rank = operation.data(0), operation.data(1), operation.rank(0)
    axes = -axis if axis < 0 else None if rank is None else rank - axis
    if isinstance(weight, Tensor) and weight.ndim == axes:
        return operation.call(F.rms_norm, value, tuple(weight.shape), weight, epsilon)
    return operation.call(divide_by_root_mean_square, value, weight, axis, epsilon)


def divide_by_root_mean_square(tensor: Tensor, weight: Tensor, axis: int, epsilon: float) -> Tensor:
    """Return x / sqrt(mean(x²) + epsilon) * weight."""
    axes = tuple(range(axis % tensor.ndim, tensor.ndim))
    return tensor * torch.rsqrt((tensor * tensor).mean(dim=axes, keepdim=True) + epsilon) * weight


def local_response_normalization(operation: Operation) -> Value:
    """LRN (Krizhevsky et al. 2012): each value by the squares of its neighbours in other channels."""
    size, bias = operation.attribute("size"), operation.attribute("bias", 1.0)
    alpha, beta = operation.attribute("alpha", 1e-4), operation.attribute("beta", 0.75)
    if size % 2:
        return operation.call(F.local_response_norm, operation.data(0), size, alpha, beta, bias)
    return operation.call(divide_by_neighbours, operation.data(0), size, alpha, beta, bias)


def divide_by_neighbours(tensor: Tensor, size: int, alpha: float, beta: float, bias: float) -> Tensor:
    """Return x / (bias + alpha / size * sum of squares)^beta, over `size` channels around each.

    An even window reaches one channel further forwards; `F.local_response_norm` lets it reach further backwards.
    """
    before, after = (size - 1) // 2, size // 2
    padding = [0, 0] * (tensor.ndim - 2) + [before, after]
    sums = F.pad(tensor * tensor, padding).unfold(1, size, 1).sum(-1)
    return tensor / (bias + alpha / size * sums) ** beta


def lp_normalization(operation: Operation) -> Value:
    """LpNormalization: divides by the norm along an axis; zero stays zero."""
    axis, order = operation.attribute("axis", -1), operation.attribute("p", 2)
    return operation.call(F.normalize, operation.data(0), float(order), axis)


def mean_variance_normalization(operation: Operation) -> Value:
    """MeanVarianceNormalization."""
    axes = tuple(operation.attribute("axes", [0, 2, 3]))
    return operation.call(standardize, operation.data(0), axes)


def standardize(tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return (x - mean) / (deviation + 1e-9) over some axes, as the specification defines it."""
    variance, mean = torch.var_mean(tensor, dim=axes, correction=0, keepdim=True)
    return (tensor - mean) / (variance.sqrt() + 1e-9)

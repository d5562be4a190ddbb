"""Activation functions, in the form that torch gives them, so that graph rewriting recognises them."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.values import Value

SIXTH = 1.0 / 6.0
SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
"""Defaults of the ONNX specification: those of Klambauer et al. 2017, as float32."""


def clip(operation: Operation) -> Value:
    """Clip: bounds are attributes before opset 11, inputs after."""
    value = operation.data(0)
    if operation.opset < 11:
        low, high = operation.attribute("min"), operation.attribute("max")
    else:
        low, high = (operation.operand(index) if operation.input(index) is not None else None for index in (1, 2))
    low = None if isinstance(low, float) and low <= torch.finfo(torch.float32).min else low
    high = None if isinstance(high, float) and high >= torch.finfo(torch.float32).max else high
    if low is None and high is None:
        return value
    if _is(low, 0.0) and _is(high, 6.0):
        operation.kind = "relu6"
        return operation.call(F.relu6, value)
    if isinstance(low, int | float | None) and isinstance(high, int | float | None):
        return operation.call(torch.clamp, value, low, high)
    if low is not None:
        value = operation.call(torch.clamp_min, value, low)
    return value if high is None else operation.call(torch.clamp_max, value, high)


def leaky_relu(operation: Operation) -> Value:
    """LeakyRelu."""
    return operation.call(F.leaky_relu, operation.data(0), operation.attribute("alpha", 0.01))


def prelu(operation: Operation) -> Value:
    """PRelu: one slope for each channel becomes `F.prelu`, other shapes of slopes are broadcast."""
    value, slope = operation.data(0), operation.constant(1)
    rank = operation.rank(0)
    if slope is not None and (slope.numel() == 1 or _per_channel(slope, rank)):
        return operation.call(F.prelu, value, operation.call(torch.flatten, operation.placed(slope)))
    return operation.call(broadcast_prelu, value, operation.data(1))


def broadcast_prelu(tensor: Tensor, slope: Tensor) -> Tensor:
    """Return the tensor where it is positive, else its product with the slope."""
    return torch.where(tensor > 0, tensor, slope * tensor)


def elu(operation: Operation) -> Value:
    """Elu."""
    return operation.call(F.elu, operation.data(0), operation.attribute("alpha", 1.0))


def celu(operation: Operation) -> Value:
    """Celu."""
    return operation.call(F.celu, operation.data(0), operation.attribute("alpha", 1.0))


def selu(operation: Operation) -> Value:
    """Selu."""
    alpha, gamma = operation.attribute("alpha", SELU_ALPHA), operation.attribute("gamma", SELU_GAMMA)
    if math.isclose(alpha, SELU_ALPHA, rel_tol=1e-6) and math.isclose(gamma, SELU_GAMMA, rel_tol=1e-6):
        return operation.call(F.selu, operation.data(0))
    return operation.call(torch.mul, operation.call(F.elu, operation.data(0), alpha), gamma)


def hard_sigmoid(operation: Operation) -> Value:
    """HardSigmoid: max(0, min(1, alpha x + beta)); torch knows the slope 1/6."""
    alpha, beta = operation.attribute("alpha", 0.2), operation.attribute("beta", 0.5)
    if math.isclose(alpha, SIXTH, rel_tol=1e-5) and beta == 0.5:
        return operation.call(F.hardsigmoid, operation.data(0))
    line = operation.call(torch.add, operation.call(torch.mul, operation.data(0), alpha), beta)
    return operation.call(torch.clamp, line, 0.0, 1.0)


def gelu(operation: Operation) -> Value:
    """Gelu, exact or by its tanh approximation."""
    return operation.call(F.gelu, operation.data(0), approximate=operation.attribute("approximate", "none"))


def thresholded_relu(operation: Operation) -> Value:
    """ThresholdedRelu."""
    return operation.call(F.threshold, operation.data(0), operation.attribute("alpha", 1.0), 0.0)


def shrink(operation: Operation) -> Value:
    """Shrink: values within [-lambd, lambd] become 0, others move towards it by `bias`."""
    bias, bound = operation.attribute("bias", 0.0), operation.attribute("lambd", 0.5)
    return operation.call(shrunken, operation.data(0), bias, bound)


def shrunken(tensor: Tensor, bias: float, bound: float) -> Tensor:
    """Return x - bias above `bound`, x + bias below its negative, and 0 between."""
    outside = torch.where(tensor > bound, tensor - bias, torch.zeros_like(tensor))
    return torch.where(tensor < -bound, tensor + bias, outside)


def swish(operation: Operation) -> Value:
    """Swish: x sigmoid(alpha x)."""
    alpha = operation.attribute("alpha", 1.0)
    if alpha == 1.0:
        return operation.call(F.silu, operation.data(0))
    gate = operation.call(torch.sigmoid, operation.call(torch.mul, operation.data(0), alpha))
    return operation.call(torch.mul, operation.data(0), gate)


def gated_swish(operation: Operation) -> Value:
    """SwiGLU: the Swish of the first input times the second."""
    return operation.call(torch.mul, swish(operation), operation.data(1))


def softmax(operation: Operation) -> Value:
    """Softmax: over one axis since opset 13, before over all axes from `axis` on."""
    return _over_axes(operation, F.softmax, flattened_softmax)


def log_softmax(operation: Operation) -> Value:
    """LogSoftmax."""
    return _over_axes(operation, F.log_softmax, flattened_log_softmax)


def hardmax(operation: Operation) -> Value:
    """Hardmax: 1 at the first maximum, 0 elsewhere."""
    return _over_axes(operation, one_at_maximum, flattened_hardmax)


def _over_axes(operation: Operation, function: Callable[..., Tensor], flattened: Callable[..., Tensor]) -> Value:
    value, rank = operation.data(0), operation.rank(0)
    if operation.opset >= 13:
        return operation.call(function, value, operation.attribute("axis", -1))
    axis = operation.attribute("axis", 1)
    if axis == -1 or (rank is not None and axis == rank - 1):
        return operation.call(function, value, -1)
    return operation.call(flattened, value, axis)


def flattened_softmax(tensor: Tensor, axis: int) -> Tensor:
    """Return the softmax over all axes from `axis` on, taken as one."""
    return F.softmax(tensor.flatten(axis), -1).reshape(tensor.shape)


def flattened_log_softmax(tensor: Tensor, axis: int) -> Tensor:
    """Return the logarithm of the softmax over all axes from `axis` on, taken as one."""
    return F.log_softmax(tensor.flatten(axis), -1).reshape(tensor.shape)


def one_at_maximum(tensor: Tensor, axis: int) -> Tensor:
    """Return 1 at the first maximum along an axis, 0 elsewhere."""
    return torch.zeros_like(tensor).scatter(axis, tensor.argmax(axis, keepdim=True), 1.0)


def flattened_hardmax(tensor: Tensor, axis: int) -> Tensor:
    """Return 1 at the first maximum over all axes from `axis` on, 0 elsewhere."""
    return one_at_maximum(tensor.flatten(axis), -1).reshape(tensor.shape)


def _per_channel(slope: Tensor, rank: int | None) -> bool:
    """Whether a slope is (channel, 1, ...) beside (batch, channel, ...)."""
    return rank is not None and slope.ndim == rank - 1 and slope.shape[0] == slope.numel()


def _is(bound: object, number: float) -> bool:
    return isinstance(bound, int | float) and bound == number

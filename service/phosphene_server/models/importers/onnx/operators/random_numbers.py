"""Operators that draw random numbers, and Dropout.

Maximizing an activation must give the same pictures twice, so nothing here is new at every evaluation: a node draws
the same numbers each time, from its attribute `seed`, or from its name where the file gives none, so that two nodes
without a seed differ. The generator is the Mersenne Twister of `numpy.random.RandomState`, as in ONNX's own reference
implementation, on any device. The numbers of a batch are drawn in order: those of the first pictures do not depend on
how many follow. No gradient passes through what is drawn.
"""

import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.operators.casting import as_type, folding_reference
from phosphene_server.models.importers.onnx.values import Value

GENERATOR_SEEDS = 2**32
"""The Mersenne Twister of numpy takes seeds below this."""


def random_normal(operation: Operation) -> Value:
    """RandomNormal: a constant."""
    return _drawn(operation, "normal", _given_shape(operation), operation.attribute("dtype", TensorProto.FLOAT))


def random_uniform(operation: Operation) -> Value:
    """RandomUniform: a constant."""
    return _drawn(operation, "uniform", _given_shape(operation), operation.attribute("dtype", TensorProto.FLOAT))


def random_normal_like(operation: Operation) -> Value:
    """RandomNormalLike: the shape of an activation."""
    return _drawn_like(operation, "normal")


def random_uniform_like(operation: Operation) -> Value:
    """RandomUniformLike: the shape of an activation."""
    return _drawn_like(operation, "uniform")


def bernoulli(operation: Operation) -> Value:
    """Bernoulli: 1 where a uniform number is below the probability."""
    value, seed = operation.data(0), seed_of(operation)
    element_type = operation.attribute("dtype", operation.element_type(0)) or TensorProto.FLOAT
    below = operation.call(below_probability, value, seed)
    return operation.call(as_type, below, element_type, folding_reference(operation, value))


def multinomial(operation: Operation) -> Value:
    """Multinomial: indices of classes, given the logarithms of their odds."""
    count, seed = operation.attribute("sample_size", 1), seed_of(operation)
    operation.bounded([count])
    value, element_type = operation.data(0), operation.attribute("dtype", TensorProto.INT32)
    return operation.call(as_type, operation.call(draw_classes, value, count, seed), element_type, value)


def dropout(operation: Operation) -> Value | tuple[Value, ...]:
    """Dropout: nothing is dropped outside of training; in training mode the same elements each time."""
    value = operation.data(0)
    training = operation.input(2) is not None and bool(operation.known(2).item())
    ratio = 0.5 if operation.input(1) is None or not training else float(operation.known(1).item())
    if training and ratio > 0.0:
        kept = operation.call(not_below, value, ratio, seed_of(operation))
        return operation.call(scaled_where, value, kept, 1.0 / (1.0 - ratio) if ratio < 1.0 else 0.0), kept
    return (value, operation.call(all_true, value)) if operation.wants(1) else value


def all_true(tensor: Tensor) -> Tensor:
    """Return a mask of the same shape that is true everywhere."""
    return torch.ones_like(tensor, dtype=torch.bool)


def seed_of(operation: Operation) -> int:
    """Return the seed of a node, as the generator takes it."""
    seed = operation.attribute("seed")
    if seed is None:
        return zlib.crc32((operation.node.name or operation.node.output[0]).encode())
    whole = float(seed).is_integer()
    return int(seed) % GENERATOR_SEEDS if whole else zlib.crc32(repr(float(seed)).encode())


def draw(kind: str, low: float, high: float, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
    """Return random numbers.

    Args:
        kind: `uniform` in [low, high), or `normal` of mean `low` and standard deviation `high`.
        low: The first number of the distribution.
        high: The second.
        shape: What is drawn.
        seed: Of the generator.
    """
    generator = np.random.RandomState(seed)
    return generator.uniform(low, high, shape) if kind == "uniform" else generator.normal(low, high, shape)


def draw_like(tensor: Tensor, kind: str, low: float, high: float, seed: int) -> Tensor:
    """Return random float64 numbers in the shape and on the device of a tensor."""
    return torch.from_numpy(np.asarray(draw(kind, low, high, tuple(tensor.shape), seed))).to(tensor.device)


def below_probability(probabilities: Tensor, seed: int) -> Tensor:
    """Return True with the probabilities of a tensor."""
    return draw_like(probabilities, "uniform", 0.0, 1.0, seed) < probabilities.detach()


def not_below(tensor: Tensor, ratio: float, seed: int) -> Tensor:
    """Return False with a probability, in the shape of a tensor."""
    return draw_like(tensor, "uniform", 0.0, 1.0, seed) >= ratio


def scaled_where(tensor: Tensor, kept: Tensor, factor: float) -> Tensor:
    """Return a tensor times a factor where it is kept, elsewhere zeros."""
    return tensor * kept * factor


def draw_classes(log_odds: Tensor, count: int, seed: int) -> Tensor:
    """Return `count` indices of classes for each row of (batch, class)."""
    cumulative = torch.softmax(log_odds.detach().double(), dim=-1).cumsum(-1)
    numbers = draw("uniform", 0.0, 1.0, (log_odds.shape[0], count), seed)
    found = torch.searchsorted(cumulative, torch.from_numpy(numbers).to(cumulative.device), right=True)
    return found.clamp(max=log_odds.shape[-1] - 1)  # the last sum may stay below 1 by rounding


def _given_shape(operation: Operation) -> tuple[int, ...]:
    shape = operation.attribute("shape")
    operation.bounded(shape)
    return tuple(shape)


def _distribution(operation: Operation, kind: str) -> tuple[float, float]:
    names = (("low", 0.0), ("high", 1.0)) if kind == "uniform" else (("mean", 0.0), ("scale", 1.0))
    first, second = (float(operation.attribute(name, default)) for name, default in names)
    return first, second


def _drawn(operation: Operation, kind: str, shape: tuple[int, ...], element_type: int) -> Value:
    numbers = torch.from_numpy(np.asarray(draw(kind, *_distribution(operation, kind), shape, seed_of(operation))))
    return as_type(numbers, element_type, torch.zeros(()))


def _drawn_like(operation: Operation, kind: str) -> Value:
    value = operation.data(0)
    element_type = operation.attribute("dtype", operation.element_type(0)) or TensorProto.FLOAT
    numbers = operation.call(draw_like, value, kind, *_distribution(operation, kind), seed_of(operation))
    return operation.call(as_type, numbers, element_type, folding_reference(operation, value))

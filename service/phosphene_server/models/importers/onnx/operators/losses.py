"""Losses that files exported with their training step have: the inputs are scores of classes and the true classes."""

import torch.nn.functional as F
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.values import Value

NO_CLASS = -100
"""Class that is ignored where the file names none: one that no file has."""


def negative_log_likelihood_loss(operation: Operation) -> Value:
    """NegativeLogLikelihoodLoss of log-probabilities (batch, class, spatial...)."""
    return _loss(operation, operation.data(0))


def softmax_cross_entropy_loss(operation: Operation) -> Value | tuple[Value, ...]:
    """SoftmaxCrossEntropyLoss of scores (batch, class, spatial...); the second output is the log-probabilities."""
    logarithms = operation.call(F.log_softmax, operation.data(0), 1)
    return _loss(operation, logarithms), logarithms


def class_loss(logarithms: Tensor, target: Tensor, weight: Tensor | None, ignored: int, reduction: str) -> Tensor:
    """Return minus the log-probability of the true classes.

    Args:
        logarithms: Log-probabilities (batch, class, spatial...).
        target: True classes (batch, spatial...), of any integer type.
        weight: Of each class, None for ones.
        ignored: A class that does not count.
        reduction: `none` for (batch, spatial...), `sum`, or `mean`, which is weighted by `weight`.
    """
    return F.nll_loss(logarithms, target.long(), weight, ignore_index=ignored, reduction=reduction)


def _loss(operation: Operation, logarithms: Value) -> Value:
    target, weight = operation.data(1), operation.optional(2)
    ignored, reduction = operation.attribute("ignore_index", NO_CLASS), operation.attribute("reduction", "mean")
    return operation.call(class_loss, logarithms, target, weight, ignored, reduction)

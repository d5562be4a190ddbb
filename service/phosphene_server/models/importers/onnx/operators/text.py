"""Operators on tokens that are numbers."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.values import Value

Sequences = Sequence[tuple[tuple[int, ...], int]]
"""Sequences of tokens, each with the column in which it is counted."""


def tfidf_vectorizer(operation: Operation) -> Value:
    """TfIdfVectorizer: how often sequences of tokens (n-grams) occur; gradients do not pass."""
    pool = operation.attribute("pool_int64s")
    if pool is None:
        raise operation.unsupported("strings")
    columns, mode = operation.attribute("ngram_indexes"), operation.attribute("mode")
    operation.bounded([max(columns) + 1])
    counts = operation.call(
        count_sequences,
        operation.data(0),
        _sequences(operation, pool, columns),
        max(columns) + 1,
        operation.attribute("max_skip_count"),
        operation.reference(),
    )
    if mode == "IDF":
        counts = operation.call(torch.clamp, counts, max=1.0)
    weights = operation.attribute("weights")
    if mode == "TF" or weights is None:
        return counts
    # The weights are in the order of the sequences, the counts in that of the columns.
    of_column = torch.ones(max(columns) + 1).scatter(0, torch.tensor(columns), torch.tensor(list(weights)))
    return operation.call(torch.mul, counts, of_column)


def count_sequences(tokens: Tensor, sequences: Sequences, columns: int, skips: int, reference: Tensor) -> Tensor:
    """Count sequences of tokens.

    Args:
        tokens: (batch, token) or (token,).
        sequences: What is counted, and where.
        columns: Length of the last axis of the result.
        skips: Tokens that may lie between two that follow one another in a sequence, the same number between all.
        reference: A tensor of the floating-point type of the graph.
    """
    rows = tokens.reshape(-1, tokens.shape[-1] if tokens.ndim else 1)
    counts = torch.zeros(len(rows), columns, dtype=reference.dtype, device=tokens.device)
    for sequence, column in sequences:
        wanted = torch.tensor(sequence, device=tokens.device)
        for distance in range(1, 2 + (skips if len(sequence) > 1 else 0)):
            span = distance * (len(sequence) - 1) + 1
            if span <= rows.shape[1]:
                found = rows.unfold(1, span, 1)[..., ::distance] == wanted
                counts[:, column] += found.all(dim=-1).sum(dim=-1)
    return counts.reshape(*tokens.shape[:-1], columns)


def _sequences(operation: Operation, pool: Sequence[int], columns: Sequence[int]) -> Sequences:
    """Return those sequences of the pool, sorted by length there, whose length is asked for."""
    starts = [*operation.attribute("ngram_counts"), len(pool)]
    shortest, longest = operation.attribute("min_gram_length"), operation.attribute("max_gram_length")
    found: list[tuple[tuple[int, ...], int]] = []
    index = 0
    for length, (start, end) in enumerate(pairwise(starts), 1):
        for place in range(start, end, length):
            if shortest <= length <= longest:
                found.append((tuple(pool[place : place + length]), columns[index]))
            index += 1
    return tuple(found)

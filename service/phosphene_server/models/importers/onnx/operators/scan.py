"""Scan: a body that is evaluated for each slice of some inputs."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.operators.rounds import count_round, counted_rounds
from phosphene_server.models.importers.onnx.values import Value


def scan(operation: Operation) -> tuple[Value, ...]:
    """Scan: a loop over the slices of some inputs; operator set 8 has a batch axis in front of everything."""
    body = operation.scope.body(operation.attribute("body"))
    slices = operation.attribute("num_scan_inputs")
    batched = operation.opset < 9
    given = [operation.argument(value) for value in operation.inputs[1 if batched else 0 :]]
    states = len(given) - slices
    collected = len(body.outputs) - states
    module = Traversal(
        body.module,
        states,
        names=(operation.model, operation.node.name or operation.node.output[0]),
        axes=operation.attribute("scan_input_axes", [0] * slices),
        backwards=operation.attribute("directions" if batched else "scan_input_directions", [0] * slices),
        output_axes=operation.attribute("scan_output_axes", [0] * collected),
        output_backwards=operation.attribute("scan_output_directions", [0] * collected),
    )
    if batched:
        lengths = operation.argument(operation.input(0))
        results = operation.evaluate(BatchedTraversal(module), lengths, given, list(body.captures))
    else:
        results = operation.evaluate(module, given, list(body.captures))
    return operation.parts(results, len(operation.node.output))


class Traversal(nn.Module):
    """Evaluates the body of a Scan for each slice of its inputs."""

    def __init__(
        self,
        body: nn.Module,
        states: int,
        *,
        names: tuple[str, str],
        axes: Sequence[int],
        backwards: Sequence[int],
        output_axes: Sequence[int],
        output_backwards: Sequence[int],
    ) -> None:
        """Take a body.

        Args:
            body: Takes the carried values and slices of the other inputs; gives the carried values and what it stacks.
            states: How many values are carried from one slice to the next.
            names: The names of the model and the node, for errors.
            axes: For each other input, the axis along which it is sliced.
            backwards: For each of them, whether its last slice comes first.
            output_axes: For each stacked output, the axis along which it is stacked.
            output_backwards: For each of them, whether the last round comes first.
        """
        super().__init__()
        self.body = body
        self.states = states
        self._names = names
        self._axes = tuple(axes)
        self._backwards = tuple(backwards)
        self._output_axes = tuple(output_axes)
        self._output_backwards = tuple(output_backwards)

    def forward(self, given: Sequence[Tensor], captures: Sequence[Any]) -> tuple[Tensor, ...]:
        """Return the states after the last slice, and the other outputs of the body stacked."""
        states, sources = list(given[: self.states]), given[self.states :]
        slices = [
            _ordered(source.unbind(axis), backwards)
            for source, axis, backwards in zip(sources, self._axes, self._backwards, strict=True)
        ]
        collected: list[list[Tensor]] = [[] for _ in self._output_axes]
        with counted_rounds(*self._names):
            for parts in zip(*slices, strict=True):
                count_round(tuple(states), tuple(collected))
                results = self.body(*states, *parts, *captures)
                states = list(results[: self.states])
                for column, value in zip(collected, results[self.states :], strict=True):
                    column.append(value)
        columns = zip(collected, self._output_axes, self._output_backwards, strict=True)
        return (*states, *(torch.stack(_ordered(column, backwards), axis) for column, axis, backwards in columns))


class BatchedTraversal(nn.Module):
    """Evaluates a Scan for each element of a batch, over as many slices as that element has."""

    def __init__(self, traversal: Traversal) -> None:
        super().__init__()
        self.traversal = traversal

    def forward(self, lengths: Tensor | None, given: Sequence[Tensor], captures: Sequence[Any]) -> tuple[Tensor, ...]:
        """Return the outputs, with the batch axis; those of elements with fewer slices end in zeros."""
        states = self.traversal.states
        longest = given[states].shape[1]
        rows = []
        for index in range(given[states].shape[0]):
            length = longest if lengths is None else int(lengths[index])
            parts = [tensor[index] if place < states else tensor[index, :length] for place, tensor in enumerate(given)]
            row = self.traversal(parts, captures)
            rows.append([*row[:states], *(_lengthened(value, longest) for value in row[states:])])
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))


def _ordered(parts: Sequence[Tensor], backwards: int) -> list[Tensor]:
    return list(parts)[::-1] if backwards else list(parts)


def _lengthened(tensor: Tensor, length: int) -> Tensor:
    """Return a tensor with zeros behind the last element of its first axis."""
    missing = tensor.new_zeros(length - tensor.shape[0], *tensor.shape[1:])
    return torch.cat([tensor, missing])

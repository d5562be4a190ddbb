"""If and Loop.

A condition that is known at import chooses its branch there, and the branch becomes a part of the graph like anything
else. Otherwise branches and bodies are modules of their own, which take the values around them as inputs, and Python
decides at run time which is evaluated and how often. Gradients pass through what was evaluated.
"""

from collections.abc import Sequence
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor, nn

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.operators.rounds import count_round, counted_rounds
from phosphene_server.models.importers.onnx.subgraphs import Body
from phosphene_server.models.importers.onnx.tensors import FLOATING, TORCH_TYPES
from phosphene_server.models.importers.onnx.value_types import ValueType
from phosphene_server.models.importers.onnx.values import Value


def conditional(operation: Operation) -> tuple[Value, ...]:
    """If."""
    condition = operation.constant(0)
    branches = operation.attribute("then_branch"), operation.attribute("else_branch")
    if condition is not None:
        return operation.scope.inlined(branches[0 if bool(condition) else 1])
    chosen, other = (operation.scope.body(branch) for branch in branches)
    captures = list(chosen.captures), list(other.captures)
    results = operation.evaluate(Branches(chosen.module, other.module), operation.operand(0), *captures)
    return operation.parts(results, len(operation.node.output))


class Branches(nn.Module):
    """Evaluates one of two branches."""

    def __init__(self, then_branch: nn.Module, else_branch: nn.Module) -> None:
        super().__init__()
        self.then_branch = then_branch
        self.else_branch = else_branch

    def forward(self, condition: Tensor | bool, then_captures: Sequence[Any], else_captures: Sequence[Any]) -> Any:
        """Return the outputs of the branch that the condition chooses."""
        return self.then_branch(*then_captures) if bool(condition) else self.else_branch(*else_captures)


def loop(operation: Operation) -> tuple[Value, ...]:
    """Loop: as many rounds as its first input says, and no longer than its condition holds."""
    body = operation.scope.body(operation.attribute("body"))
    carried = [operation.argument(value) for value in operation.inputs[2:]]
    trips, condition = (operation.argument(operation.input(index)) for index in (0, 1))
    module = Repetition(body, len(carried), model=operation.model, node=operation.node.name or operation.node.output[0])
    results = operation.evaluate(module, trips, condition, carried, list(body.captures))
    return operation.parts(results, len(operation.node.output))


class Repetition(nn.Module):
    """Evaluates the body of a loop again and again."""

    def __init__(self, body: Body, carried: int, *, model: str, node: str) -> None:
        """Take a body.

        Args:
            body: Takes the round, the condition and the carried values; gives the condition, the carried values, and
                values that are collected over all rounds.
            carried: How many values are carried from one round to the next.
            model: The name of the model, for errors.
            node: The name of the node, for errors.
        """
        super().__init__()
        self.body = body.module
        self.register_buffer("reference", torch.zeros(()))  # of the device and floating-point type of the graph
        self._collected = body.outputs[1 + carried :]
        self._carried = carried
        self._model = model
        self._node = node

    def forward(
        self, trips: Tensor | None, condition: Tensor | None, carried: Sequence[Any], captures: Sequence[Any]
    ) -> tuple[Any, ...]:
        """Return the carried values after the last round, and the collected ones stacked along a new first axis.

        Raises:
            UnsupportedModel: there are too many rounds, or what is carried grows without bound.
        """
        values, reference = list(carried), self.get_buffer("reference")
        collected: list[list[Tensor]] = [[] for _ in self._collected]
        going: Any = True if condition is None else condition
        rounds = 0
        with counted_rounds(self._model, self._node):
            while bool(going) and (trips is None or rounds < int(trips)):
                count_round(tuple(values), tuple(collected))
                number, state = (torch.tensor(given, device=reference.device) for given in (rounds, True))
                going, *results = self.body(number, state, *values, *captures)
                values = results[: self._carried]
                for column, value in zip(collected, results[self._carried :], strict=True):
                    column.append(value)
                rounds += 1
        stacked = [stack(column, kind, reference) for column, kind in zip(collected, self._collected, strict=True)]
        return (*values, *stacked)


def stack(values: Sequence[Tensor], kind: ValueType | None, reference: Tensor) -> Tensor:
    """Stack the values of all rounds along a new first axis; of no round at all, an empty tensor of their type."""
    if values:
        return torch.stack(list(values))
    shape = [length or 0 for length in (kind.shape if kind is not None and kind.shape is not None else ())]
    element_type = kind.element_type if kind is not None else TensorProto.FLOAT
    dtype = reference.dtype if element_type in FLOATING or not element_type else TORCH_TYPES[element_type]
    return torch.zeros((0, *shape), dtype=dtype, device=reference.device)

"""Recurrent networks: RNN, GRU and LSTM, forwards, backwards or both, as the specification writes them.

The products with the inputs are computed for all steps at once, those with the state step by step.

References:
    Hochreiter and Schmidhuber 1997, Long Short-Term Memory (https://doi.org/10.1162/neco.1997.9.8.1735).
    Cho et al. 2014, gated recurrent units (https://arxiv.org/abs/1406.1078).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.operators.indexing import reverse_beginnings
from phosphene_server.models.importers.onnx.values import Value

Function = Callable[[Tensor], Tensor]
State = tuple[Tensor, ...]
Weights = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Activation:
    """An activation function of a gate, and its parameters."""

    name: str
    alpha: float
    beta: float

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return the function of each element."""
        return ACTIVATIONS[self.name](tensor, self.alpha, self.beta)


def _threshold(tensor: Tensor, alpha: float, beta: float) -> Tensor:
    return torch.where(tensor >= alpha, tensor, 0.0)


ACTIVATIONS: Mapping[str, Callable[[Tensor, float, float], Tensor]] = {
    "affine": lambda tensor, alpha, beta: alpha * tensor + beta,
    "elu": lambda tensor, alpha, beta: F.elu(tensor, alpha),
    "hardsigmoid": lambda tensor, alpha, beta: (alpha * tensor + beta).clamp(0.0, 1.0),
    "leakyrelu": lambda tensor, alpha, beta: F.leaky_relu(tensor, alpha),
    "relu": lambda tensor, alpha, beta: F.relu(tensor),
    "scaledtanh": lambda tensor, alpha, beta: alpha * torch.tanh(beta * tensor),
    "sigmoid": lambda tensor, alpha, beta: torch.sigmoid(tensor),
    "softplus": lambda tensor, alpha, beta: F.softplus(tensor),
    "softsign": lambda tensor, alpha, beta: F.softsign(tensor),
    "tanh": lambda tensor, alpha, beta: torch.tanh(tensor),
    "thresholdedrelu": _threshold,
}
"""What the specification calls a function, in lower case -> the function of a tensor, alpha and beta."""

PARAMETERS: Mapping[str, tuple[float, ...]] = {
    "affine": (1.0, 0.0),
    "elu": (1.0,),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01,),
    "scaledtanh": (1.0, 1.0),
    "thresholdedrelu": (1.0,),
}
"""Functions with parameters -> the defaults of alpha and, for those that have it, of beta."""


@dataclass(frozen=True)
class Cell:
    """What happens in a step, beside the weights."""

    kind: str
    """`RNN`, `GRU` or `LSTM`."""
    activations: tuple[Activation, ...]
    clip: float | None
    """Bound on the arguments of the activation functions; None: no bound."""
    coupled: bool
    """LSTM: whether the forget gate is 1 minus the input gate."""
    late_reset: bool
    """GRU: whether the state is reset after its linear map, else before."""


@dataclass(frozen=True)
class Recurrence:
    """A recurrent network without its weights: what it does in each of its directions."""

    cells: tuple[Cell, ...]
    backwards: tuple[bool, ...]
    """Whether it runs from the last step to the first."""
    batch_first: bool
    """Whether batch is the first axis, before time or direction, of all sequences and states."""

    __name__ = "run_recurrence"  # fx wants one of what it calls

    def __call__(
        self,
        sequence: Tensor,
        weights: Weights,
        lengths: Tensor | None,
        states: tuple[Tensor | None, ...],
    ) -> tuple[Tensor, ...]:
        """Run over sequences.

        Args:
            sequence: (time, batch, channel).
            weights: Of the inputs (direction, gates * hidden, channel), of the state (direction, gates * hidden,
                hidden), the biases of both (direction, 2 * gates * hidden), and peepholes (direction, 3 * hidden).
            lengths: (batch,): steps of each sequence; None: all have all.
            states: The states at the start, each (direction, batch, hidden); None: zero.

        Returns:
            All hidden states (time, direction, batch, hidden), and the last of each state (direction, batch, hidden).
        """
        weight, recurrence, bias, peepholes = weights
        if self.batch_first:
            sequence = sequence.transpose(0, 1)
            states = tuple(None if state is None else state.transpose(0, 1) for state in states)
        if lengths is None:
            lengths = torch.full((sequence.shape[1],), sequence.shape[0], device=sequence.device)
        nothing = sequence.new_zeros(sequence.shape[1], recurrence.shape[-1])
        histories, ends = [], []
        for direction, (cell, backward) in enumerate(zip(self.cells, self.backwards, strict=True)):
            own_bias, holes = _of_direction(direction, bias, peepholes)
            used = (weight[direction], recurrence[direction], own_bias, holes)
            start = tuple(nothing if own is None else own for own in _of_direction(direction, *states))
            ordered = reverse_beginnings(sequence, lengths, batch_first=False) if backward else sequence
            history, end = _run(ordered, used, lengths, start, cell)
            histories.append(reverse_beginnings(history, lengths, batch_first=False) if backward else history)
            ends.append(end)
        every, last = torch.stack(histories, 1), tuple(torch.stack(parts) for parts in zip(*ends, strict=True))
        if self.batch_first:
            return (every.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in last))
        return (every, *last)


DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}


def recurrent(operation: Operation) -> tuple[Value, ...]:
    """RNN, GRU or LSTM: all states, the last one, and the last cell of an LSTM."""
    kind, direction = operation.node.op_type, operation.attribute("direction", "forward")
    if direction not in ("forward", "reverse", "bidirectional"):
        raise ValueError(f"{kind} has no direction {direction!r}")
    inputs = [operation.optional(index) for index in range(8)]
    sequence, weight, recurrence, bias, lengths, state, cell, peepholes = inputs
    backwards = (False, True) if direction == "bidirectional" else (direction == "reverse",)
    network = Recurrence(_cells(operation, len(backwards)), backwards, bool(operation.attribute("layout", 0)))
    states = (state, cell) if kind == "LSTM" else (state,)
    results = operation.evaluate(network, sequence, (weight, recurrence, bias, peepholes), lengths, states)
    return operation.parts(results, 1 + len(states))


def _cells(operation: Operation, directions: int) -> tuple[Cell, ...]:
    kind = operation.node.op_type
    names = [
        name.decode("utf-8") if isinstance(name, bytes) else name
        for name in operation.attribute("activations", list(DEFAULTS[kind]) * directions)
    ]
    functions = _functions(
        names, operation.attribute("activation_alpha", []), operation.attribute("activation_beta", [])
    )
    each = len(DEFAULTS[kind])
    if len(functions) != each * directions:
        raise ValueError(f"{kind} in {directions} directions has {each * directions} activation functions")
    return tuple(
        Cell(
            kind,
            tuple(functions[start : start + each]),
            operation.attribute("clip"),
            bool(operation.attribute("input_forget", 0)),
            bool(operation.attribute("linear_before_reset", 0)),
        )
        for start in range(0, len(functions), each)
    )


def _functions(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> list[Activation]:
    """Give functions their parameters, which the file lists for those alone that have some, in order."""
    alpha_left, beta_left = list(alphas), list(betas)
    functions = []
    for name in (name.lower() for name in names):
        if name not in ACTIVATIONS:
            raise ValueError(f"there is no activation function {name!r}")
        defaults = PARAMETERS.get(name, ())
        alpha = alpha_left.pop(0) if defaults and alpha_left else (*defaults, 0.0)[0]
        beta = beta_left.pop(0) if len(defaults) > 1 and beta_left else (*defaults, 0.0, 0.0)[1]
        functions.append(Activation(name, alpha, beta))
    return functions


def _of_direction(direction: int, *tensors: Tensor | None) -> list[Tensor | None]:
    return [None if tensor is None else tensor[direction] for tensor in tensors]


def _run(sequence: Tensor, weights: Weights, lengths: Tensor, states: State, cell: Cell) -> tuple[Tensor, State]:
    """Run one direction over (time, batch, channel); states of sequences that ended stay, and their output is 0."""
    weight, recurrence, bias, peepholes = weights
    own, inner = bias.chunk(2) if bias is not None else (None, None)
    projected = F.linear(sequence, weight, own)
    history = []
    for step, row in enumerate(projected):
        running = (step < lengths)[:, None]
        new = STEPS[cell.kind](row, states, recurrence, inner, peepholes, cell)
        states = tuple(torch.where(running, after, before) for after, before in zip(new, states, strict=True))
        history.append(torch.where(running, states[0], 0.0))
    return torch.stack(history), states


def _clipped(tensor: Tensor, cell: Cell) -> Tensor:
    return tensor if cell.clip is None else tensor.clamp(-cell.clip, cell.clip)


def _plain_step(
    row: Tensor, states: State, recurrence: Tensor, bias: Tensor | None, peepholes: Tensor | None, cell: Cell
) -> State:
    (state,) = states
    (activation,) = cell.activations
    return (activation(_clipped(row + F.linear(state, recurrence, bias), cell)),)


def _gated_step(
    row: Tensor, states: State, recurrence: Tensor, bias: Tensor | None, peepholes: Tensor | None, cell: Cell
) -> State:
    """GRU, whose gates are in the order update, reset, hidden."""
    (state,) = states
    gate, activation = cell.activations
    hidden = state.shape[-1]
    gates = F.linear(state, recurrence[: 2 * hidden], None if bias is None else bias[: 2 * hidden])
    update, reset = gate(_clipped(row[:, : 2 * hidden] + gates, cell)).chunk(2, -1)
    last, last_bias = recurrence[2 * hidden :], None if bias is None else bias[2 * hidden :]
    inner = F.linear(state if cell.late_reset else reset * state, last, last_bias)
    inner = reset * inner if cell.late_reset else inner
    proposed = activation(_clipped(row[:, 2 * hidden :] + inner, cell))
    return ((1 - update) * proposed + update * state,)


def _long_short_step(
    row: Tensor, states: State, recurrence: Tensor, bias: Tensor | None, peepholes: Tensor | None, cell: Cell
) -> State:
    """LSTM, whose gates are in the order input, output, forget, cell; its peepholes input, output, forget."""
    state, memory = states
    gate, activation, outward = cell.activations
    enter, leave, forget, proposed = (row + F.linear(state, recurrence, bias)).chunk(4, -1)
    holes = peepholes.chunk(3) if peepholes is not None else None
    if holes is not None:
        enter, forget = enter + holes[0] * memory, forget + holes[2] * memory
    entering = gate(_clipped(enter, cell))
    forgetting = 1 - entering if cell.coupled else gate(_clipped(forget, cell))
    memory = forgetting * memory + entering * activation(_clipped(proposed, cell))
    if holes is not None:
        leave = leave + holes[1] * memory
    return gate(_clipped(leave, cell)) * outward(_clipped(memory, cell)), memory


STEPS: Mapping[str, Callable[..., State]] = {"RNN": _plain_step, "GRU": _gated_step, "LSTM": _long_short_step}
"""Operator -> one step: from the product with the input and the states to the new states."""

"""Recurrent layers, as PyTorch's fused operators have them: a tensor of the sequence, states, and all weights flat.

Inference leaves their dropout out. Each also exists for packed sequences, which nobody makes of a picture: those are
refused.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator


def lstm(sequence: Tensor, states: list[Tensor], weights: list[Tensor], *options: Any) -> tuple[Tensor, ...]:
    """Return the outputs of long short-term memory and its last two states; the options are those of `torch.lstm`."""
    if sequence.is_meta:
        return _like_outputs(sequence, states[0], options), states[0], states[1]
    return torch.lstm(sequence, states, weights, *options)


def gru(sequence: Tensor, state: Tensor, weights: list[Tensor], *options: Any) -> tuple[Tensor, ...]:
    """Return the outputs of gated recurrent units and the last state; the options are those of `torch.gru`."""
    if sequence.is_meta:
        return _like_outputs(sequence, state, options), state
    return torch.gru(sequence, state, weights, *options)


def rnn_tanh(sequence: Tensor, state: Tensor, weights: list[Tensor], *options: Any) -> tuple[Tensor, ...]:
    """Return the outputs of a simple recurrent layer with tanh, and the last state."""
    if sequence.is_meta:
        return _like_outputs(sequence, state, options), state
    return torch.rnn_tanh(sequence, state, weights, *options)


def rnn_relu(sequence: Tensor, state: Tensor, weights: list[Tensor], *options: Any) -> tuple[Tensor, ...]:
    """Return the outputs of a simple recurrent layer with rectifiers, and the last state."""
    if sequence.is_meta:
        return _like_outputs(sequence, state, options), state
    return torch.rnn_relu(sequence, state, weights, *options)


def _like_outputs(sequence: Tensor, state: Tensor, options: tuple[Any, ...]) -> Tensor:
    """Return outputs without numbers; torch itself would run all steps one by one to know their shape."""
    *_, bidirectional, _ = options
    return sequence.new_empty([*sequence.shape[:-1], state.shape[-1] * (2 if bidirectional else 1)])


def _recurrent(function: Callable[..., Any], results: int) -> Operator:
    """Make a row for a layer over a whole sequence that gives the outputs and `results` - 1 last states."""

    def lower(emit: Emitter, a: Arguments) -> Any:
        if "batch_sizes" in a:
            raise UnsupportedModel("", "recurrent layers are read for plain sequences, not for packed ones")
        options = [a["has_biases"], a["num_layers"], 0.0, False, a["bidirectional"], a["batch_first"]]
        states = list(a["hx"]) if isinstance(a["hx"], list | tuple) else a["hx"]
        all_of_them = emit.call(function, a["input"], states, list(a["params"]), *options)
        return tuple(emit.item(all_of_them, index) for index in range(results))

    return Operator("recurrent", lower)


def _cell(function: Callable[..., Any]) -> Operator:
    """Make a row for one step."""

    def lower(emit: Emitter, a: Arguments) -> Any:
        weights = [a["w_ih"], a["w_hh"], a.get("b_ih"), a.get("b_hh")]
        if not isinstance(a["hx"], list | tuple):
            return emit.call(function, a["input"], a["hx"], *weights)
        both = emit.call(function, a["input"], list(a["hx"]), *weights)
        return emit.item(both, 0), emit.item(both, 1)

    return Operator("recurrent", lower)


OPERATORS: dict[str, Operator] = {
    "lstm": _recurrent(lstm, 3),
    "gru": _recurrent(gru, 2),
    "rnn_tanh": _recurrent(rnn_tanh, 2),
    "rnn_relu": _recurrent(rnn_relu, 2),
    "lstm_cell": _cell(torch.lstm_cell),
    "gru_cell": _cell(torch.gru_cell),
    "rnn_tanh_cell": _cell(torch.rnn_tanh_cell),
    "rnn_relu_cell": _cell(torch.rnn_relu_cell),
}

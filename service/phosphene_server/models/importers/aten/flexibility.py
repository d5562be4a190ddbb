"""Which axes of the inputs may have other lengths: found by trying, on the meta device, without computing."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from phosphene_server.models.graph import ancestors
from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.values.model import TensorSpecification

GROWTH = 32
"""How much longer an axis is tried: a multiple of the strides of common networks, so that halvings stay even."""


def specify_inputs(emit: Emitter, outputs: Sequence[fx.Node], names: Sequence[str]) -> tuple[TensorSpecification, ...]:
    """Describe the inputs, -1 for each axis of which the graph takes another length."""
    examples = [emit.example(node) for node in emit.inputs]
    if any(example is None for example in examples):
        return tuple(TensorSpecification(name, "float32", ()) for name in names)
    return tuple(
        TensorSpecification(name, _type_name(example), _flexible_shape(emit, outputs, examples, position))
        for position, (name, example) in enumerate(zip(names, examples, strict=True))
    )


def specify_outputs(
    emit: Emitter, outputs: Sequence[fx.Node], inputs: Sequence[TensorSpecification], names: Sequence[str]
) -> tuple[TensorSpecification, ...]:
    """Describe the outputs, -1 for each axis whose length depends on an input's."""
    small = [emit.example(node) for node in outputs]
    grown = _evaluate(
        emit, outputs, [_grown(emit.example(node), s) for node, s in zip(emit.inputs, inputs, strict=True)]
    )
    return tuple(
        TensorSpecification(name, _type_name(before), _common_shape(before, after))
        for name, before, after in zip(names, small, grown or small, strict=True)
    )


def _flexible_shape(
    emit: Emitter, outputs: Sequence[fx.Node], examples: Sequence[Tensor], position: int
) -> tuple[int, ...]:
    shape = list(examples[position].shape)
    for axis, length in enumerate(examples[position].shape):
        longer = list(examples[position].shape)
        longer[axis] = length + GROWTH
        trial = [*examples[:position], examples[position].new_empty(longer), *examples[position + 1 :]]
        if _evaluate(emit, outputs, trial) is not None:
            shape[axis] = -1
    return tuple(shape)


def _evaluate(emit: Emitter, outputs: Sequence[fx.Node], inputs: Sequence[Any]) -> list[Tensor] | None:
    """Return the outputs' examples for other inputs, None where an operation refuses them."""
    values = dict(zip(emit.inputs, inputs, strict=True))
    needed = {*outputs, *ancestors(outputs)}
    try:
        with torch.no_grad():
            for node in emit.builder.graph.nodes:
                if node.op == "get_attr":
                    values[node] = emit.example(node)
                elif node.op == "call_function" and node in needed:
                    arguments, keywords = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
                    values[node] = node.target(*arguments, **keywords)
    except Exception:  # An operation may refuse a shape with any kind of error; all of them mean no.
        return None
    return [values[node] for node in outputs]


def _grown(example: Tensor, specification: TensorSpecification) -> Tensor:
    lengths = zip(example.shape, specification.shape, strict=True)
    return example.new_empty([length + GROWTH if free == -1 else length for length, free in lengths])


def _common_shape(before: Tensor | None, after: Tensor | None) -> tuple[int, ...]:
    if before is None or after is None:
        return ()
    return tuple(a if a == b else -1 for a, b in zip(before.shape, after.shape, strict=True))


def _type_name(example: Tensor | None) -> str:
    return "float32" if example is None else str(example.dtype).removeprefix("torch.")

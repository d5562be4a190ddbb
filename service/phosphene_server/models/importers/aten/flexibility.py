"""Which axes of the inputs may have other lengths: found by trying, on the meta device, without computing."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.evaluation import evaluate
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
    if any(emit.example(node) is None for node in emit.inputs):
        return tuple(TensorSpecification(name, "float32", ()) for name in names)
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
        # Inputs that belong together, for example two pictures, grow together.
        equal = [other for other, each in enumerate(examples) if axis < each.dim() and each.shape[axis] == length]
        groups = [[position], equal] if len(equal) > 1 else [equal]
        if any(_takes_longer(emit, outputs, examples, group, axis) for group in groups):
            shape[axis] = -1
    return tuple(shape)


def _takes_longer(
    emit: Emitter, outputs: Sequence[fx.Node], examples: Sequence[Tensor], longer: Sequence[int], axis: int
) -> bool:
    """Tell whether the graph takes inputs of which some, by position, are longer along an axis."""
    trial = list(examples)
    for position in longer:
        shape = list(examples[position].shape)
        shape[axis] += GROWTH
        trial[position] = examples[position].new_empty(shape)
    return _evaluate(emit, outputs, trial) is not None


def _evaluate(emit: Emitter, outputs: Sequence[fx.Node], inputs: Sequence[Any]) -> list[Any] | None:
    """Return the outputs' examples for other inputs, None where an operation refuses them."""
    graph = emit.builder.graph
    known: dict[fx.Node, Any] = dict(zip(emit.inputs, inputs, strict=True))
    known.update((node, emit.example(node)) for node in graph.nodes if node.op == "get_attr")
    try:
        values = evaluate(graph, outputs, known)
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

"""Sequences and optional values: their operators are resolved at import where the length is known, else at run time."""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.values import NOTHING, Items, Nothing, Value


def sequence_construct(operation: Operation) -> Value:
    """SequenceConstruct."""
    return Items(tuple(value for value in operation.inputs if value is not None))


def sequence_empty(operation: Operation) -> Value:
    """SequenceEmpty."""
    return Items(())


def sequence_length(operation: Operation) -> Value:
    """SequenceLength."""
    value = operation.input(0)
    if isinstance(value, Items):
        return torch.tensor(len(value.elements))
    return operation.call(length_of, value, operation.reference())


def length_of(items: Sequence[Tensor], reference: Tensor) -> Tensor:
    """Return the number of elements, on the device of `reference`."""
    return torch.tensor(len(items), device=reference.device)


def sequence_at(operation: Operation) -> Value:
    """SequenceAt: negative positions count from the end."""
    value, position = operation.input(0), _position(operation, 1)
    if isinstance(value, Items) and isinstance(position, int):
        return value.elements[position]
    return operation.call(operator.getitem, operation.argument(value), position)


def sequence_insert(operation: Operation) -> Value:
    """SequenceInsert: before a position, by default at the end."""
    value, element = operation.input(0), operation.input(1)
    position = _position(operation, 2)
    if isinstance(value, Items) and element is not None and not isinstance(position, fx.Node):
        elements = list(value.elements)
        elements.insert(len(elements) if position is None else position, element)
        return Items(tuple(elements))
    result: fx.Node = operation.evaluate(inserted, operation.argument(value), operation.argument(element), position)
    return result


def inserted(items: Sequence[Tensor], element: Tensor, position: int | None) -> list[Tensor]:
    """Return a sequence with one more element."""
    place = len(items) if position is None else position
    return [*items[:place], element, *items[place:]]


def sequence_erase(operation: Operation) -> Value:
    """SequenceErase: by default the last element."""
    value, position = operation.input(0), _position(operation, 1)
    if isinstance(value, Items) and not isinstance(position, fx.Node):
        return Items(tuple(erased(value.elements, position)))
    result: fx.Node = operation.evaluate(erased, operation.argument(value), position)
    return result


def erased(items: Sequence[Any], position: int | None) -> list[Any]:
    """Return a sequence without one of its elements."""
    kept = list(items)
    del kept[-1 if position is None else position]
    return kept


def split_to_sequence(operation: Operation) -> Value:
    """SplitToSequence: parts of given lengths, of one length (the last may be shorter), or single slices."""
    value, axis, lengths = operation.data(0), operation.attribute("axis", 0), operation.known_numbers(1)
    if lengths is None:
        parts = operation.evaluate(single_slices, value, axis, bool(operation.attribute("keepdims", 1)))
    else:
        parts = operation.evaluate(torch.split, value, lengths[0] if operation.rank(1) == 0 else lengths, axis)
    return parts if isinstance(parts, fx.Node) else Items(tuple(parts))


def single_slices(tensor: Tensor, axis: int, keep: bool) -> list[Tensor]:
    """Return the slices of a tensor along an axis, which they lose unless `keep`."""
    return list(torch.split(tensor, 1, axis) if keep else torch.unbind(tensor, axis))


def concat_from_sequence(operation: Operation) -> Value:
    """ConcatFromSequence: along an axis that the elements have, or a new one."""
    function = torch.stack if operation.attribute("new_axis", 0) else torch.cat
    return operation.call(function, operation.argument(operation.input(0)), operation.attribute("axis"))


def optional(operation: Operation) -> Value:
    """Optional: its element, or nothing."""
    value = operation.input(0)
    return NOTHING if value is None else value


def optional_has_element(operation: Operation) -> Value:
    """OptionalHasElement: always of what is no optional, never of an input that is left out."""
    value = operation.input(0)
    if isinstance(value, fx.Node):
        return operation.call(is_something, value, operation.reference())
    return torch.tensor(value is not None and not isinstance(value, Nothing))


def is_something(value: object, reference: Tensor) -> Tensor:
    """Return whether there is a value, as a tensor on the device of `reference`."""
    return torch.tensor(value is not None, device=reference.device)


def optional_get_element(operation: Operation) -> Value:
    """OptionalGetElement: an optional with an element is that element."""
    value = operation.input(0)
    if value is None or isinstance(value, Nothing):
        raise ValueError("an empty optional has no element")
    return value


def _position(operation: Operation, index: int) -> int | fx.Node | None:
    """Return a position in a sequence; None where it is left out."""
    if operation.input(index) is None:
        return None
    position: int | fx.Node = operation.evaluate(int, operation.operand(index))
    return position

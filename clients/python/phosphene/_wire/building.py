"""Messages built from a caller's values, so that a value of the wrong type is an error that names its field."""

from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from phosphene.errors import FieldViolation, InvalidArgument

MessageType = TypeVar("MessageType", bound=Message)

_EXPECTATIONS = {
    FieldDescriptor.TYPE_UINT32: "a whole number from 0 to 2**32 - 1",
    FieldDescriptor.TYPE_UINT64: "a whole number from 0 to 2**64 - 1",
    FieldDescriptor.TYPE_DOUBLE: "a number",
    FieldDescriptor.TYPE_BOOL: "true or false",
    FieldDescriptor.TYPE_STRING: "text",
}


def build(kind: type[MessageType], path: str, **values: Any) -> MessageType:
    """Make a message; a value that is None leaves its field unset.

    Args:
        kind: The class of the message.
        path: The path of the message in the request; empty for the request itself.
        values: The fields.

    Raises:
        InvalidArgument: a field cannot hold its value.
    """
    try:
        return kind(**values)
    except (TypeError, ValueError):
        for name, value in values.items():
            _check(kind, path, name, value)
        raise


def invalid(field: str, *, expected: str, value: object) -> InvalidArgument:
    """The error of one field that is wrong, worded as the server words it."""
    description = f"expected {expected}, got {value!r}"
    return InvalidArgument(f"{field}: {description}", violations=(FieldViolation(field, description),))


def _check(kind: type[Message], path: str, name: str, value: object) -> None:
    """Try one field by itself."""
    try:
        kind(**{name: value})
    except (TypeError, ValueError) as error:
        field = kind.DESCRIPTOR.fields_by_name[name]
        expected = _EXPECTATIONS.get(field.type, "another type of value")
        repeated = "a list, each of them " if isinstance(value, list | tuple) else ""
        raise invalid(f"{path}.{name}".lstrip("."), expected=repeated + expected, value=value) from error

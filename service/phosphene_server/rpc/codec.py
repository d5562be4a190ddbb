"""Messages to values and back, by descriptors and names alone.

    message  --plain-->  dicts, lists, numbers, arrays  --pydantic-->  frozen dataclass

The rules are those of `phosphene_server.values`: a message that is nothing but one `oneof` is a union told apart by
`kind`; an enum is its name in lower case without the prefix, and left out when unset; Duration and Timestamp are
seconds; a Tensor is an array. A field without presence is passed on even when it is zero, so that an error can show
the zero; a test makes sure that the defaults of the values agree.

A path that pydantic reports is not quite the path of the proto: of a union whose case is a number or a tensor it names
the case twice, and of a union with only one case it does not name it at all. violations.py puts that right.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import TypeAdapter, ValidationError

from phosphene.v1 import tensor_pb2
from phosphene_server.rpc.descriptors import TENSOR, descriptor_of, enum_prefix, field_named, has_parts, union_of
from phosphene_server.rpc.tensors import array_of, tensor_of
from phosphene_server.rpc.violations import violations

Value = TypeVar("Value")
MessageType = TypeVar("MessageType", bound=Message)

_DURATION: str = Duration.DESCRIPTOR.full_name
_TIMESTAMP: str = Timestamp.DESCRIPTOR.full_name
_NANOSECONDS = 1_000_000_000


def to_value(message: Message, kind: type[Value]) -> Value:
    """Return a request as a value that keeps all the limits of its type.

    Raises:
        InvalidArgument: the first field that is wrong, by its path in the proto; `others` has the rest.
    """
    try:
        value: Value = _adapter(cast("Any", kind)).validate_python(_plain(message, ""))
        return value
    except ValidationError as error:
        first, *others = violations(error, message)
        first.others = tuple(others)
        raise first from None


def to_message(value: object, kind: type[MessageType]) -> MessageType:
    """Return a value as a message; what is None stays unset."""
    message = kind()
    _fill(message, value)
    return message


# From messages


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _plain(message: Message, path: str) -> Any:
    """Return a message as what pydantic reads. `path` is where it stands in the request."""
    name = message.DESCRIPTOR.full_name
    if name == TENSOR:
        return array_of(cast("tensor_pb2.Tensor", message), path)
    if name in (_DURATION, _TIMESTAMP):
        time = cast("Duration", message)
        return time.seconds + time.nanos / _NANOSECONDS
    union = union_of(descriptor_of(message))
    return _plain_union(message, union, path) if union else _plain_fields(message, path)


def _plain_union(message: Message, union: OneofDescriptor, path: str) -> dict[str, Any]:
    case = message.WhichOneof(union.name)
    if case is None:
        return {}
    content = _plain_fields(message, path)
    return {"kind": case, **(content[case] if has_parts(field_named(message, case)) else content)}


def _plain_fields(message: Message, path: str) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for field in descriptor_of(message).fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        place = f"{path}.{field.name}" if path else field.name
        if field.is_repeated:
            content[field.name] = [_plain_item(field, item, f"{place}[{index}]") for index, item in enumerate(value)]
        elif not _is_unset(field, value):
            content[field.name] = _plain_item(field, value, place)
    return content


def _plain_item(field: FieldDescriptor, value: Any, path: str) -> Any:
    if field.message_type:
        return _plain(value, path)
    return _enum_name(field.enum_type, value) if field.enum_type else value


def _is_unset(field: FieldDescriptor, value: Any) -> bool:
    """Tell whether a field that is there means "not set": an enum's zero, or a union without a case."""
    if field.enum_type:
        return bool(value == 0)
    union = union_of(field.message_type) if field.message_type else None
    return union is not None and value.WhichOneof(union.name) is None


def _enum_name(enum: EnumDescriptor, number: int) -> str | int:
    """Return the short name of an enum value; a number that this version does not know stays a number."""
    value = enum.values_by_number.get(number)
    return value.name.removeprefix(enum_prefix(enum)).lower() if value else number


# To messages


def _fill(message: Message, value: Any) -> None:
    union = union_of(descriptor_of(message))
    if union is None:
        for field in descriptor_of(message).fields:
            _fill_field(message, field, getattr(value, field.name))
        return
    case = field_named(message, value.kind)
    if has_parts(case):
        inner = getattr(message, case.name)
        inner.SetInParent()
        _fill(inner, value)
    else:
        _fill_field(message, case, getattr(value, case.name))


def _fill_field(message: Message, field: FieldDescriptor, value: Any) -> None:
    if value is None:
        return
    if field.is_repeated:
        _fill_items(getattr(message, field.name), field, value)
    elif field.message_type:
        inner = getattr(message, field.name)
        inner.SetInParent()
        _fill_message(inner, value)
    else:
        setattr(message, field.name, _scalar(field, value))


def _fill_items(items: Any, field: FieldDescriptor, values: Sequence[Any]) -> None:
    if field.message_type:
        for value in values:
            _fill_message(items.add(), value)
    else:
        items.extend(_scalar(field, value) for value in values)


def _fill_message(message: Message, value: Any) -> None:
    name = message.DESCRIPTOR.full_name
    if name == TENSOR:
        message.CopyFrom(tensor_of(value))
    elif name in (_DURATION, _TIMESTAMP):
        nanoseconds = round(value * _NANOSECONDS)
        time = cast("Duration", message)
        time.seconds, time.nanos = divmod(nanoseconds, _NANOSECONDS)
    else:
        _fill(message, value)


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if not field.enum_type:
        return value
    return field.enum_type.values_by_name[f"{enum_prefix(field.enum_type)}{value.upper()}"].number

"""What the descriptors of the contract say about its messages: which are unions, and how enum values are called."""

from functools import cache
from typing import cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message

from phosphene.v1 import tensor_pb2

TENSOR: str = tensor_pb2.Tensor.DESCRIPTOR.full_name


@cache
def union_of(descriptor: Descriptor) -> OneofDescriptor | None:
    """Return the oneof of a message that becomes a union: one that is all of the message and has cases with parts.

    A oneof of plain numbers and strings stays in its message as optional fields.
    """
    oneofs = [oneof for oneof in descriptor.oneofs if not _is_optional(oneof)]
    if len(oneofs) != 1 or len(oneofs[0].fields) != len(descriptor.fields):
        return None
    return oneofs[0] if any(field.message_type for field in descriptor.fields) else None


def descriptor_of(message: Message) -> Descriptor:
    """Return what a message is; its own attribute has the type of every implementation of protobuf that there is."""
    return cast("Descriptor", message.DESCRIPTOR)


def field_named(message: Message, name: str) -> FieldDescriptor:
    """Return a field of a message."""
    return descriptor_of(message).fields_by_name[name]


def has_parts(field: FieldDescriptor) -> bool:
    """Tell whether a case of a union is a message with fields of its own, not a number, an enum or a tensor."""
    return field.message_type is not None and field.message_type.full_name != TENSOR


def choices(field: FieldDescriptor) -> tuple[str, ...]:
    """Return the names among which a field chooses: the cases of a union, the values of an enum; empty for others."""
    if field.enum_type:
        prefix = enum_prefix(field.enum_type)
        return tuple(value.name.removeprefix(prefix).lower() for value in field.enum_type.values if value.number)
    union = union_of(field.message_type) if field.message_type else None
    return tuple(case.name for case in union.fields) if union else ()


@cache
def enum_prefix(enum: EnumDescriptor) -> str:
    """Return what all values of an enum begin with, for example `MODEL_FORMAT_`."""
    return str(enum.values_by_number[0].name).removesuffix("UNSPECIFIED")


def _is_optional(oneof: OneofDescriptor) -> bool:
    """Tell whether a oneof is only how `optional` is stored."""
    return str(oneof.name).startswith("_")

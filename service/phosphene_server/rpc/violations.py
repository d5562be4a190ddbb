"""What pydantic found wrong in a request, told by the paths of the proto."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from phosphene_server.errors import InvalidArgument
from phosphene_server.rpc.descriptors import choices, descriptor_of, field_named, has_parts, union_of
from phosphene_server.values.expectation import expectation, shown

Location = tuple[int | str, ...]


def violations(error: ValidationError, message: Message) -> list[InvalidArgument]:
    """Return what is wrong with a message, in the order of its fields; at least one."""
    details = [detail for detail in error.errors(include_url=False) if not _is_echo(detail)]
    return [_violation(detail, message) for detail in details]


def proto_path(message: Message, location: Location) -> tuple[str, FieldDescriptor | None]:
    """Return the path in the proto of a location in the value, and the field that it leads to.

    The path `objective.weighted_sum.terms[1].weight` is the location `objective, weighted_sum, terms, 1, weight`. Of a
    union whose case is a number or a tensor pydantic names the case twice (it is the tag and the field), and of a
    union with a single case not at all.
    """
    parts: list[str] = []
    field: FieldDescriptor | None = None
    for part, step in _walk(message, list(location)):
        parts.append(part)
        field = step
    return "".join(parts).removeprefix("."), field


def _walk(message: Message | None, rest: list[int | str]) -> Iterator[tuple[str, FieldDescriptor]]:
    while rest and message is not None:
        union = union_of(descriptor_of(message))
        name = message.WhichOneof(union.name) if union else str(rest[0])
        if name is None:
            return
        if rest[0] == name:
            rest.pop(0)
        field = field_named(message, name)
        yield f".{name}", field
        if union and not has_parts(field):
            return
        value: Any = getattr(message, name)
        if field.is_repeated and rest:
            index = int(rest.pop(0))
            yield f"[{index}]", field
            value = value[index]
        message = value if isinstance(value, Message) else None


def _violation(detail: ErrorDetails, message: Message) -> InvalidArgument:
    path, field = proto_path(message, detail["loc"])
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":  # a rule of the values about several fields, see values/maximization.py
        name, expected, came = context["error"].args
        return InvalidArgument(f"{path}.{name}".strip("."), came, expected)
    if detail["type"] in ("missing", "union_tag_not_found"):
        names = choices(field) if field else ()
        return InvalidArgument(path, "nothing", f"one of {', '.join(map(repr, names))}" if names else "a value")
    return InvalidArgument(path, shown(detail["input"]), expectation(detail["type"], context, otherwise=detail["msg"]))


def _is_echo(detail: ErrorDetails) -> bool:
    """Tell whether pydantic calls a list too short only because it left out the items that are wrong."""
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]

"""Errors as gRPC statuses: one table, and the details that go with them.

Every status carries an ErrorInfo (the reason, and the fields of the error as text) and what helps beyond it:
BadRequest for wrong fields, ResourceInfo for unknown names, PreconditionFailure for models and layers, RetryInfo where
coming again helps, RequestInfo with the id of the request (https://google.aip.dev/193).

All of it travels in one trailer, and peers refuse more than 8 KiB of metadata by default, so long texts are cut.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from phosphene_server.errors import (
    DamagedModel,
    InternalError,
    InvalidArgument,
    LayerUnusable,
    ModelBusy,
    ModelUnusable,
    NotEnabled,
    NotFound,
    Overloaded,
    ParityFailure,
    PhospheneError,
    ResponseTooLarge,
    Unsupported,
    UnsupportedModel,
    WorkerLost,
)

DOMAIN = "phosphene"
"""The `domain` of every ErrorInfo: who defines the reasons."""

STATUSES: Mapping[type[PhospheneError], tuple[int, str]] = {
    InvalidArgument: (code_pb2.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    NotFound: (code_pb2.NOT_FOUND, "NOT_FOUND"),
    ModelUnusable: (code_pb2.FAILED_PRECONDITION, "MODEL_UNUSABLE"),
    UnsupportedModel: (code_pb2.FAILED_PRECONDITION, "UNSUPPORTED_MODEL"),
    DamagedModel: (code_pb2.FAILED_PRECONDITION, "DAMAGED_MODEL"),
    ParityFailure: (code_pb2.FAILED_PRECONDITION, "PARITY_FAILURE"),
    LayerUnusable: (code_pb2.FAILED_PRECONDITION, "LAYER_UNUSABLE"),
    ModelBusy: (code_pb2.FAILED_PRECONDITION, "MODEL_BUSY"),
    Overloaded: (code_pb2.RESOURCE_EXHAUSTED, "OVERLOADED"),
    ResponseTooLarge: (code_pb2.RESOURCE_EXHAUSTED, "RESPONSE_TOO_LARGE"),
    WorkerLost: (code_pb2.UNAVAILABLE, "WORKER_LOST"),
    NotEnabled: (code_pb2.PERMISSION_DENIED, "NOT_ENABLED"),
    Unsupported: (code_pb2.UNIMPLEMENTED, "UNSUPPORTED"),
    InternalError: (code_pb2.INTERNAL, "INTERNAL_ERROR"),
}
"""The status code and the reason of each error."""

LONGEST_MESSAGE_BYTES = 600
LONGEST_TEXT_BYTES = 200
LONGEST_FIELD_BYTES = 120
MOST_VIOLATIONS = 8


def status_of(error: PhospheneError, *, request_id: str) -> grpc.Status:
    """Return the status that an error becomes."""
    code, reason = STATUSES[type(error)]
    details = (_information(error, reason), *_particulars(error, reason), _request(request_id))
    return _status(code, str(error), details)


def aborted_status(*, request_id: str) -> grpc.Status:
    """Return the status of a call whose work was given up by the service, not by the caller."""
    information = error_details_pb2.ErrorInfo(reason="ABORTED", domain=DOMAIN)
    return _status(code_pb2.ABORTED, "the service gave up this call", (information, _request(request_id)))


def _status(code: int, message: str, details: tuple[Message, ...]) -> grpc.Status:
    status = status_pb2.Status(code=code, message=_cut(message, LONGEST_MESSAGE_BYTES))
    for detail in details:
        status.details.append(_packed(detail))
    result: grpc.Status = rpc_status.to_status(status)
    return result


def _packed(detail: Message) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed


def _information(error: PhospheneError, reason: str) -> error_details_pb2.ErrorInfo:
    """Return the reason and those fields of the error that are text or numbers, so that a client can rebuild it."""
    metadata = {
        field.name: _cut(_text(getattr(error, field.name)), LONGEST_TEXT_BYTES)
        for field in fields(error)
        if field.name not in ("others", "operators")
    }
    return error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)


def _particulars(error: PhospheneError, reason: str) -> Iterator[Message]:
    if isinstance(error, InvalidArgument):
        yield _bad_request(error)
    if isinstance(error, NotFound):
        yield error_details_pb2.ResourceInfo(
            resource_type=_cut(error.kind, LONGEST_TEXT_BYTES),
            resource_name=_cut(error.name, LONGEST_TEXT_BYTES),
            description=_cut(str(error), LONGEST_TEXT_BYTES),
        )
    if isinstance(error, ModelUnusable | ModelBusy | LayerUnusable):
        subject = error.layer if isinstance(error, LayerUnusable) else error.model
        violation = error_details_pb2.PreconditionFailure.Violation(
            type=reason, subject=_cut(subject, LONGEST_TEXT_BYTES), description=_cut(str(error), LONGEST_TEXT_BYTES)
        )
        yield error_details_pb2.PreconditionFailure(violations=[violation])
    if isinstance(error, Overloaded | WorkerLost):
        delay = Duration()
        delay.FromNanoseconds(round(error.retry_after_seconds * 1e9))
        yield error_details_pb2.RetryInfo(retry_delay=delay)


def _bad_request(error: InvalidArgument) -> error_details_pb2.BadRequest:
    violations = [
        error_details_pb2.BadRequest.FieldViolation(
            field=_cut(wrong.field, LONGEST_FIELD_BYTES),
            description=_cut(f"expected {wrong.expected}, got {wrong.value}", LONGEST_TEXT_BYTES),
        )
        for wrong in (error, *error.others)[:MOST_VIOLATIONS]
    ]
    return error_details_pb2.BadRequest(field_violations=violations)


def _request(request_id: str) -> error_details_pb2.RequestInfo:
    return error_details_pb2.RequestInfo(request_id=request_id)


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _cut(text: str, limit: int) -> str:
    """Return a text of at most `limit` bytes of UTF-8."""
    data = text.encode()
    return text if len(data) <= limit else data[: limit - 3].decode(errors="ignore") + "..."

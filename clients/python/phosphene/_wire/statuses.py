"""gRPC statuses made into our errors: the google.rpc.Status in the trailing metadata says more than the code alone."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from phosphene import errors
from phosphene.errors import FieldViolation, InvalidArgument, NotFound, PhospheneError, RetryableError

_STATUS_KEY = "grpc-status-details-bin"

# The reasons of the server, which are the names of its errors.
BY_REASON: Mapping[str, type[PhospheneError]] = {
    "INVALID_ARGUMENT": errors.InvalidArgument,
    "NOT_FOUND": errors.NotFound,
    "MODEL_UNUSABLE": errors.ModelUnusable,
    "UNSUPPORTED_MODEL": errors.UnsupportedModel,
    "DAMAGED_MODEL": errors.DamagedModel,
    "PARITY_FAILURE": errors.ParityFailure,
    "LAYER_UNUSABLE": errors.LayerUnusable,
    "MODEL_BUSY": errors.ModelBusy,
    "OVERLOADED": errors.Overloaded,
    "RESPONSE_TOO_LARGE": errors.ResponseTooLarge,
    "INTERNAL_ERROR": errors.InternalError,
    "WORKER_LOST": errors.WorkerLost,
    "NOT_ENABLED": errors.NotEnabled,
    "UNSUPPORTED": errors.Unsupported,
}
# What is left when a status has no reason, for example one that gRPC itself or a proxy made.
BY_CODE: Mapping[grpc.StatusCode, type[PhospheneError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidArgument,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: errors.ModelUnusable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Overloaded,
    grpc.StatusCode.PERMISSION_DENIED: errors.NotEnabled,
    grpc.StatusCode.UNIMPLEMENTED: errors.Unsupported,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: errors.Cancelled,
    grpc.StatusCode.ABORTED: errors.Cancelled,
}

Detail = TypeVar("Detail", bound=Message)


def decode_error(error: grpc.aio.AioRpcError, *, address: str) -> PhospheneError:
    """The error of ours that a failed call stands for.

    Args:
        error: What the call raised.
        address: The server, for the message of a connection that failed.
    """
    status = _rich_status(error)
    info = _detail(status, ErrorInfo) or ErrorInfo()
    kind = BY_REASON.get(info.reason) or BY_CODE.get(error.code(), errors.InternalError)
    message = status.message or error.details() or f"the call failed with {error.code().name}"
    if kind is errors.Unavailable and not info.reason:
        message = _unreachable(address, message)
    if issubclass(kind, InvalidArgument):
        return kind(message, violations=_violations(status), reason=info.reason, metadata=info.metadata)
    if issubclass(kind, NotFound):
        return _not_found(message, status, info)
    if issubclass(kind, RetryableError):
        return kind(message, retry_after_seconds=_delay(status), reason=info.reason, metadata=info.metadata)
    return kind(message, reason=info.reason, metadata=info.metadata)


def _rich_status(error: grpc.aio.AioRpcError) -> Status:
    """The google.rpc.Status of an error; an empty one where there is none or it cannot be read."""
    for key, value in error.trailing_metadata() or ():
        if key == _STATUS_KEY and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                break
    return Status()


def _detail(status: Status, kind: type[Detail]) -> Detail | None:
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            detail = kind()
            packed.Unpack(detail)
            return detail
    return None


def _violations(status: Status) -> tuple[FieldViolation, ...]:
    request = _detail(status, BadRequest) or BadRequest()
    return tuple(FieldViolation(item.field, item.description) for item in request.field_violations)


def _not_found(message: str, status: Status, info: ErrorInfo) -> NotFound:
    violations = _violations(status)
    return NotFound(
        message,
        name=info.metadata.get("name", ""),
        nearest=tuple(_split(info.metadata.get("nearest", ""))),
        field=info.metadata.get("field", "") or (violations[0].field if violations else ""),
        reason=info.reason,
        metadata=info.metadata,
    )


def _split(names: str) -> Iterable[str]:
    return (name.strip() for name in names.split(",") if name.strip())


def _delay(status: Status) -> float | None:
    retry = _detail(status, RetryInfo)
    return None if retry is None else retry.retry_delay.ToTimedelta().total_seconds()


def _unreachable(address: str, details: str) -> str:
    return (
        f"no Phosphene server answers at {address!r} ({details}); start one with `phosphene serve`, "
        "or use phosphene.launch() for a server of your own"
    )

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from phosphene_server.errors import (
    InvalidArgument,
    LayerUnusable,
    NotFound,
    Overloaded,
    ParityFailure,
    PhospheneError,
    UnsupportedModel,
    WorkerLost,
)
from phosphene_server.rpc.statuses import DOMAIN, STATUSES, aborted_status, status_of
from tests.unit.test_errors import every_error, example

LONGEST_METADATA = 8192
"""What gRPC peers take by default, in bytes."""


def details_of(status: grpc.Status) -> dict[str, Message]:
    (_, packed), *_ = status.trailing_metadata
    found = {}
    for detail in status_pb2.Status.FromString(packed).details:
        kind = getattr(error_details_pb2, detail.TypeName().rpartition(".")[2])
        message = kind()
        assert detail.Unpack(message)
        assert kind.__name__ not in found, "each detail once"
        found[kind.__name__] = message
    return found


def test_the_table_has_every_error_and_no_reason_twice() -> None:
    assert set(STATUSES) == set(every_error())
    assert len({reason for _, reason in STATUSES.values()}) == len(STATUSES)


@pytest.mark.parametrize("kind", every_error())
def test_every_status_says_what_and_why(kind: type[PhospheneError]) -> None:
    error = example(kind)
    status = status_of(error, request_id="r-1")
    details = details_of(status)
    code, reason = STATUSES[kind]
    assert (status.code.value[0], status.details) == (code, str(error))
    assert details["RequestInfo"].request_id == "r-1"
    information = details["ErrorInfo"]
    assert (information.reason, information.domain) == (reason, DOMAIN)
    assert reason == "".join(f"_{letter}" if letter.isupper() else letter for letter in kind.__name__)[1:].upper()


@pytest.mark.parametrize("kind", every_error())
def test_no_error_is_too_long_for_a_trailer(kind: type[PhospheneError]) -> None:
    error = example(kind, text="é\n" * 5000)
    if isinstance(error, InvalidArgument):
        error.others = tuple(example(kind, text="é\n" * 5000) for _ in range(100))
    status = status_of(error, request_id="r" * 128)
    (_, packed), *_ = status.trailing_metadata
    # On the wire bytes are written in base 64, and the message with three characters for each unusual byte.
    assert len(packed) * 4 / 3 + len(status.details.encode()) * 3 < LONGEST_METADATA


def test_wrong_fields_are_told_each_with_its_expectation() -> None:
    error = InvalidArgument("steps", "0", "a number above 0", (InvalidArgument("linger", "-1", "a time"),))
    violations = details_of(status_of(error, request_id="r"))["BadRequest"].field_violations
    assert [(item.field, item.description) for item in violations] == [
        ("steps", "expected a number above 0, got 0"),
        ("linger", "expected a time, got -1"),
    ]


def test_an_unknown_name_is_told_with_its_kind_and_the_nearest() -> None:
    details = details_of(status_of(NotFound("layer", "conv", ("conv1", "conv2"), "layer"), request_id="r"))
    assert (details["ResourceInfo"].resource_type, details["ResourceInfo"].resource_name) == ("layer", "conv")
    expected = {"kind": "layer", "name": "conv", "nearest": "conv1, conv2", "field": "layer"}
    assert dict(details["ErrorInfo"].metadata) == expected


@pytest.mark.parametrize("error", [Overloaded("full", 2.5), WorkerLost("gone", 2.5)])
def test_errors_that_pass_say_when_to_come_again(error: PhospheneError) -> None:
    delay = details_of(status_of(error, request_id="r"))["RetryInfo"].retry_delay
    assert delay.ToTimedelta().total_seconds() == 2.5


@pytest.mark.parametrize(
    ("error", "subject"),
    [
        (ParityFailure("net/1", "departs", "conv1", 0.5), "net/1"),
        (UnsupportedModel("net/1", "missing", (("Loop", ("a",)),)), "net/1"),
        (LayerUnusable("relu", "has no filters"), "relu"),
    ],
)
def test_unusable_things_are_failed_preconditions(error: PhospheneError, subject: str) -> None:
    status = status_of(error, request_id="r")
    (violation,) = details_of(status)["PreconditionFailure"].violations
    assert (status.code, violation.subject) == (grpc.StatusCode.FAILED_PRECONDITION, subject)
    assert violation.description == str(error)


def test_a_call_that_is_given_up_is_aborted() -> None:
    status = aborted_status(request_id="r")
    assert status.code.value[0] == code_pb2.ABORTED
    assert set(details_of(status)) == {"ErrorInfo", "RequestInfo"}

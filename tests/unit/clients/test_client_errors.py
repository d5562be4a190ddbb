"""What a failed call raises."""

import grpc
import pytest
from fake_service import rich_status
from google.rpc import code_pb2, error_details_pb2

import phosphene
import phosphene_server.errors
from phosphene import errors, objectives
from phosphene._wire.statuses import BY_REASON, decode_error
from phosphene_server.rpc.statuses import STATUSES, status_of


def rpc_error(code: grpc.StatusCode, trailing=(), details: str = "said gRPC") -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details=details)


def test_an_unknown_model_comes_with_the_nearest_names(client):
    with pytest.raises(errors.NotFound, match="no model is named 'tony'") as caught:
        client.model("tony")
    assert (caught.value.name, caught.value.nearest, caught.value.field) == ("tony", ("tiny", "teeny"), "model.name")


def test_a_wrong_field_is_named(client):
    with pytest.raises(errors.InvalidArgument) as caught:
        client.maximize("tiny", objectives.layer("conv1"), steps=200_000)
    assert caught.value.field == "steps"
    assert caught.value.violations[0].description == "expected a whole number from 1 to 100000, got 200000"


def test_an_address_where_nothing_listens_is_explained():
    with (
        phosphene.connect("unix:/nowhere/socket", timeout=10) as client,
        pytest.raises(errors.Unavailable, match="phosphene serve"),
    ):
        client.models()


@pytest.mark.parametrize("reason", BY_REASON)
def test_every_reason_becomes_the_error_of_that_name(reason):
    trailing = rich_status(code_pb2.UNKNOWN, "a sentence", error_details_pb2.ErrorInfo(reason=reason))
    error = decode_error(rpc_error(grpc.StatusCode.UNKNOWN, trailing), address="here")
    assert type(error) is BY_REASON[reason]
    assert (str(error), error.reason) == ("a sentence", reason)


def test_the_errors_have_the_names_of_the_servers():
    assert set(BY_REASON) == {reason for _, reason in STATUSES.values()}
    for kind, (_, reason) in STATUSES.items():
        assert BY_REASON[reason].__name__ == kind.__name__


def test_a_servers_error_survives_the_journey():
    original = phosphene_server.errors.NotFound("class", "stra", nearest=("star", "spiral"), field="objective")
    status = status_of(original, request_id="1")
    error = decode_error(rpc_error(status.code, status.trailing_metadata), address="here")
    assert isinstance(error, errors.NotFound)
    assert (str(error), error.nearest, error.field) == (str(original), ("star", "spiral"), "objective")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidArgument),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.UNIMPLEMENTED, errors.Unsupported),
        (grpc.StatusCode.ABORTED, errors.Cancelled),
        (grpc.StatusCode.INTERNAL, errors.InternalError),
        (grpc.StatusCode.DATA_LOSS, errors.InternalError),
    ],
)
def test_a_bare_status_is_told_by_its_code(code, kind):
    error = decode_error(rpc_error(code), address="here")
    assert type(error) is kind
    assert "said gRPC" in str(error)


def test_details_that_cannot_be_read_are_passed_over():
    error = decode_error(
        rpc_error(grpc.StatusCode.NOT_FOUND, (("grpc-status-details-bin", b"\xff\xff"),)), address="here"
    )
    assert isinstance(error, errors.NotFound)


def test_every_error_is_a_phosphene_error():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 15
    assert all(issubclass(kind, errors.PhospheneError) for kind in kinds)

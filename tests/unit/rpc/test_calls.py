"""The short calls, health, reflection and errors, over a real connection."""

import asyncio
import logging

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from phosphene.v1 import filter_pb2, kernel_pb2, maximization_pb2, model_pb2
from phosphene_server.errors import NotFound, Overloaded, WorkerLost
from phosphene_server.rpc.server import SERVICES
from phosphene_server.values.work import ApplyKernel, DescribeModel, ExtractFilters, UnloadModel
from tests.unit.jobs.front_fakes import FakeWorker
from tests.unit.rpc.front_server import Front

NET = model_pb2.ModelReference(name="net")


def health_of(front: Front) -> health_pb2_grpc.HealthStub:
    return health_pb2_grpc.HealthStub(front.channel)


async def serving(front: Front, service: str) -> bool:
    answer = await health_of(front).Check(health_pb2.HealthCheckRequest(service=service))
    return answer.status == health_pb2.HealthCheckResponse.SERVING


async def refused(call: grpc.aio.Call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


# Every short call


async def test_models_are_listed(front: Front) -> None:
    page = await front.models.ListModels(model_pb2.ListModelsRequest(page_size=2))
    assert [(model.name, model.version, list(model.formats)) for model in page.models] == [
        ("net", "1", [model_pb2.MODEL_FORMAT_ONNX]),
        ("other", "1", [model_pb2.MODEL_FORMAT_ONNX]),
    ]


async def test_a_model_is_described(front: Front) -> None:
    model = (await front.models.GetModel(model_pb2.GetModelRequest(model=NET))).model
    assert isinstance(front.worker.tasks[0], DescribeModel)
    assert (model.reference.version, list(model.labels), model.layers[0].name) == ("1", ["star", "ring"], "conv1")


async def test_models_are_loaded_and_unloaded(front: Front) -> None:
    loaded = await front.admin.LoadModel(model_pb2.LoadModelRequest(model=NET))
    assert loaded.model.reference.name == "net"
    assert (await front.admin.UnloadModel(model_pb2.UnloadModelRequest(model=NET))).unloaded
    assert isinstance(front.worker.tasks[1], UnloadModel)


async def test_filters_are_extracted(front: Front) -> None:
    reply = await front.filters.ExtractFilters(filter_pb2.ExtractFiltersRequest(model=NET, layer="conv1"))
    assert isinstance(front.worker.tasks[0], ExtractFilters)
    np.testing.assert_array_equal(np.frombuffer(reply.weights.data, "<f4"), np.ones(6))


async def test_kernels_are_applied(front: Front) -> None:
    pixels = {"data_type": 4, "shape": [1, 2], "data": b"ab"}
    reply = await front.filters.ApplyKernel(
        kernel_pb2.ApplyKernelRequest(images=[{"tensor": pixels}], kernel={"layer": {"model": NET, "layer": "conv1"}})
    )
    (task,) = front.worker.tasks
    assert isinstance(task, ApplyKernel)
    assert task.request.images[0].tensor.tolist() == [[97, 98]]
    assert reply.responses[0].scale == 2.5


# Errors


@pytest.mark.parametrize("call", ["LoadModel", "UnloadModel"])
async def test_the_admin_service_is_off_unless_enabled(make_front, details, call: str) -> None:
    front = await make_front()
    error = await refused(getattr(front.admin, call)(getattr(model_pb2, f"{call}Request")(model=NET)))
    assert error.code() == grpc.StatusCode.PERMISSION_DENIED
    assert details(error)["ErrorInfo"].reason == "NOT_ENABLED"
    assert front.worker.tasks == []


EMPTY_REQUESTS = [
    ("models", "GetModel", model_pb2.GetModelRequest(), "model"),
    ("models", "ListModels", model_pb2.ListModelsRequest(page_size=0), "page_size"),
    ("models", "ListModels", model_pb2.ListModelsRequest(page_token="?"), "page_token"),
    ("admin", "LoadModel", model_pb2.LoadModelRequest(), "model"),
    ("admin", "UnloadModel", model_pb2.UnloadModelRequest(), "model"),
    ("filters", "ExtractFilters", filter_pb2.ExtractFiltersRequest(), "model"),
    ("filters", "ApplyKernel", kernel_pb2.ApplyKernelRequest(), "images"),
    ("maximizations", "GetMaximization", maximization_pb2.GetMaximizationRequest(), "maximization_id"),
    ("maximizations", "ListMaximizations", maximization_pb2.ListMaximizationsRequest(page_token="?"), "page_token"),
    ("maximizations", "CancelMaximization", maximization_pb2.CancelMaximizationRequest(), "maximization_id"),
    ("maximizations", "MaximizeActivation", maximization_pb2.MaximizeActivationRequest(), "model"),
    ("maximizations", "WatchMaximization", maximization_pb2.WatchMaximizationRequest(), "maximization_id"),
]


@pytest.mark.parametrize(("service", "call", "request_", "field"), EMPTY_REQUESTS)
async def test_every_call_refuses_bad_input_with_its_field(
    front: Front, details, service: str, call: str, request_: Message, field: str
) -> None:
    answer = getattr(getattr(front, service), call)(request_)
    error = await refused(answer if hasattr(answer, "__await__") else anext(aiter(answer)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().startswith(f"{field}: expected ")
    assert details(error)["BadRequest"].field_violations[0].field == field


async def test_an_unknown_model_is_not_found_with_the_nearest(front: Front, details) -> None:
    error = await refused(front.models.GetModel(model_pb2.GetModelRequest(model={"name": "nett"})))
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert error.details() == "model.name: no model is named 'nett'; did you mean 'net'?"
    assert details(error)["ErrorInfo"].metadata["nearest"] == "net"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("layer", "conv", ("conv1",), "layer"), grpc.StatusCode.NOT_FOUND),
        (Overloaded("full", 2.0), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (WorkerLost("gone"), grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_errors_of_the_worker_are_told(front: Front, details, error, code) -> None:
    front.worker.error = error
    told = await refused(front.models.GetModel(model_pb2.GetModelRequest(model=NET)))
    assert (told.code(), told.details()) == (code, str(error))
    assert ("RetryInfo" in details(told)) == (code != grpc.StatusCode.NOT_FOUND)


async def test_an_unforeseen_error_is_logged_once_and_its_text_is_hidden(front: Front, details, caplog) -> None:
    front.worker.error = ValueError("secret path /etc/x")
    with caplog.at_level(logging.ERROR):
        call = front.models.GetModel(model_pb2.GetModelRequest(model=NET), metadata=(("x-request-id", "r-5"),))
        told = await refused(call)
    assert told.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in str(told.details()) + str(told.trailing_metadata())
    (record,) = caplog.records
    assert "r-5" in record.message
    assert "secret path" in caplog.text


@pytest.mark.parametrize("call", ["unary", "stream"])
async def test_work_that_is_given_up_inside_ends_the_call(front: Front, call: str) -> None:
    front.worker.error = asyncio.CancelledError()
    if call == "unary":
        told = await refused(front.models.GetModel(model_pb2.GetModelRequest(model=NET), timeout=5))
    else:
        wanted = maximization_pb2.MaximizeActivationRequest(model=NET, objective={"layer": {"layer": "a"}})
        told = await refused(anext(aiter(front.maximizations.MaximizeActivation(wanted, timeout=5))))
    assert told.code() == grpc.StatusCode.ABORTED


async def test_a_response_that_does_not_fit_is_told(make_front, monkeypatch) -> None:
    front = await make_front(maximum_message_bytes=2**16)
    large = np.ones((1, 3, 100, 100), np.float32)
    monkeypatch.setattr("tests.unit.jobs.front_fakes.ONES", large)
    error = await refused(front.filters.ExtractFilters(filter_pb2.ExtractFiltersRequest(model=NET, layer="conv1")))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "more than the 65536 of one message" in error.details()


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b"\x0a\x03\x0a\x01\xff"])
@pytest.mark.parametrize("call", ["ModelService/GetModel", "MaximizationService/MaximizeActivation"])
async def test_bytes_that_are_no_message_are_an_invalid_argument(front: Front, caplog, payload, call) -> None:
    is_stream = call.endswith("MaximizeActivation")
    method = (front.channel.unary_stream if is_stream else front.channel.unary_unary)(f"/phosphene.v1.{call}")
    told = await refused(method(payload).read() if is_stream else method(payload))
    assert told.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert told.details().startswith("request: expected a message of the contract, got what cannot be read")
    assert caplog.records == []


# Request ids


async def test_the_request_id_is_sent_back(front: Front, details) -> None:
    named = (("x-request-id", "r-1"),)
    call = front.models.ListModels(model_pb2.ListModelsRequest(), metadata=named)
    await call
    assert (await call.initial_metadata())["x-request-id"] == "r-1"
    error = await refused(front.models.GetModel(model_pb2.GetModelRequest(), metadata=named))
    assert details(error)["RequestInfo"].request_id == "r-1"


@pytest.mark.parametrize("given", [(), (("x-request-id", ""),), (("x-request-id", "r" * 1000),)])
async def test_a_request_without_a_usable_id_gets_one(front: Front, given) -> None:
    call = front.models.ListModels(model_pb2.ListModelsRequest(), metadata=given)
    await call
    assert len((await call.initial_metadata())["x-request-id"]) == 32


# Health and reflection


async def test_health_answers_at_once_and_services_are_ready_when_the_worker_is(make_front) -> None:
    worker = FakeWorker()
    worker.ready.clear()
    front = await make_front(worker)
    assert await serving(front, "")
    assert not any([await serving(front, name) for name in SERVICES])
    worker.ready.set()
    async with asyncio.timeout(5):
        while not all([await serving(front, name) for name in SERVICES]):
            await asyncio.sleep(0.005)


async def test_calls_that_come_before_the_worker_is_ready_wait(make_front) -> None:
    worker = FakeWorker()
    worker.ready.clear()
    front = await make_front(worker)
    call = front.models.GetModel(model_pb2.GetModelRequest(model=NET))
    assert len((await front.models.ListModels(model_pb2.ListModelsRequest())).models) >= 2
    assert not call.done()
    worker.ready.set()
    assert (await call).model.reference.name == "net"


async def test_reflection_names_all_services(front: Front) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(front.channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    names = {service.name for service in (await anext(aiter(call))).list_services_response.service}
    assert names == {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert len(SERVICES) == 4

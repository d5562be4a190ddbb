"""A real gRPC server in this process, over a Unix socket, with a worker that does as it is told."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from phosphene_server.app import Application
from phosphene_server.settings import Settings
from tests.unit.jobs.front_fakes import FakeWorker, make_root
from tests.unit.rpc.front_server import Front


@pytest.fixture
async def make_front(tmp_path: Path) -> AsyncIterator[object]:
    fronts: list[Front] = []

    async def make(worker: FakeWorker | None = None, **choices: object) -> Front:
        worker = worker or FakeWorker()
        address = f"unix:{tmp_path / 'socket'}"
        root = make_root(tmp_path / "root", "net", "other")
        options = {"listen": (address,), "model_repository": root, "shutdown_grace_seconds": 0.2, **choices}

        def make_worker(_: Settings, listener: object) -> FakeWorker:
            worker.listener = listener
            return worker

        application = Application(Settings(**options), make_worker=make_worker)
        (address, *_) = await application.start()
        # Small windows, as the SDK asks for, so that a paused reader is noticed soon.
        front = Front(application, worker, address, grpc.aio.insecure_channel(address, [("grpc.http2.bdp_probe", 0)]))
        fronts.append(front)
        return front

    yield make
    for front in fronts:
        await front.channel.close()
        front.application.request_stop()
        await front.application.run()


@pytest.fixture
async def front(make_front) -> Front:
    return await make_front(model_admin=True)


def details_of(error: grpc.aio.AioRpcError) -> dict[str, object]:
    """The details of a status by the names of their types."""
    packed = error.trailing_metadata()["grpc-status-details-bin"]
    found = {}
    for detail in status_pb2.Status.FromString(packed).details:
        message = getattr(error_details_pb2, detail.TypeName().rpartition(".")[2])()
        detail.Unpack(message)
        found[type(message).__name__] = message
    return found


@pytest.fixture
def details():
    return details_of

"""A running front and a client of it."""

from dataclasses import dataclass

import grpc

from phosphene.v1 import filter_pb2_grpc, maximization_pb2_grpc, model_pb2_grpc
from phosphene_server.app import Application
from tests.unit.jobs.front_fakes import FakeWorker


@dataclass
class Front:
    """A running front and a client of it."""

    application: Application
    worker: FakeWorker
    address: str
    channel: grpc.aio.Channel

    @property
    def models(self) -> model_pb2_grpc.ModelServiceStub:
        return model_pb2_grpc.ModelServiceStub(self.channel)

    @property
    def admin(self) -> model_pb2_grpc.ModelAdminServiceStub:
        return model_pb2_grpc.ModelAdminServiceStub(self.channel)

    @property
    def filters(self) -> filter_pb2_grpc.FilterServiceStub:
        return filter_pb2_grpc.FilterServiceStub(self.channel)

    @property
    def maximizations(self) -> maximization_pb2_grpc.MaximizationServiceStub:
        return maximization_pb2_grpc.MaximizationServiceStub(self.channel)

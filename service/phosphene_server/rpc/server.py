"""The gRPC server: all services, health and reflection, and the options of its sockets."""

import os
import socket
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from phosphene.v1 import filter_pb2, filter_pb2_grpc, maximization_pb2, maximization_pb2_grpc, model_pb2, model_pb2_grpc
from phosphene_server.jobs.board import MaximizationBoard
from phosphene_server.jobs.front_desk import FrontDesk
from phosphene_server.rpc.filters import FilterServicer
from phosphene_server.rpc.interceptors import CallInterceptor
from phosphene_server.rpc.maximizations import MaximizationServicer
from phosphene_server.rpc.models import ModelAdminServicer, ModelServicer

SERVICES: tuple[str, ...] = tuple(
    service.full_name
    for file in (model_pb2, filter_pb2, maximization_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)
"""The names of our services."""

UNIX = "unix:"
LONGEST_UNIX_PATH = 107
"""Bytes of a socket's path that Linux takes (`sun_path`, without the closing zero)."""


class CannotListen(Exception):
    """An address cannot be listened on; the message says which and why."""


class Service:
    """Our services on a gRPC server.

    Health has two questions. The server as a whole (the empty name) serves as soon as it listens: calls that need the
    worker then wait for it. Each service by its name serves once the worker is ready, and is what a load balancer
    should ask before it sends work.
    """

    def __init__(
        self, desk: FrontDesk, board: MaximizationBoard, *, model_admin: bool, maximum_message_bytes: int
    ) -> None:
        """Put the services on a server that does not listen yet. Call this in the event loop that serves.

        Args:
            desk: Answers what is short.
            board: Keeps the maximizations.
            model_admin: Whether models may be loaded and unloaded.
            maximum_message_bytes: The largest message, either way.
        """
        interceptor = CallInterceptor(maximum_message_bytes=maximum_message_bytes)
        self._server = grpc.aio.server(interceptors=[interceptor], options=_options(maximum_message_bytes))
        self._health = health.aio.HealthServicer()
        model_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(desk), self._server)
        admin = ModelAdminServicer(desk, enabled=model_admin)
        model_pb2_grpc.add_ModelAdminServiceServicer_to_server(admin, self._server)
        filter_pb2_grpc.add_FilterServiceServicer_to_server(FilterServicer(desk), self._server)
        maximization_pb2_grpc.add_MaximizationServiceServicer_to_server(MaximizationServicer(board), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    def bind(self, addresses: Iterable[str]) -> tuple[str, ...]:
        """Take the addresses, `host:port` or `unix:PATH`, and return them with the ports that were chosen for 0.

        Raises:
            CannotListen: one of them is in use or cannot be had.
        """
        return tuple(self._bind(address) for address in addresses)

    async def start(self) -> None:
        """Begin to answer; the services are not ready yet."""
        await self.set_ready(ready=False)
        await self._server.start()

    async def set_ready(self, *, ready: bool) -> None:
        """Tell health whether the services can work at once."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in SERVICES:
            await self._health.set(name, status)

    async def drain(self, *, grace_seconds: float) -> None:
        """Take no more calls, let the running ones end for a while, then cancel what is left."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)

    def _bind(self, address: str) -> str:
        if address.startswith(UNIX):
            _bind_unix(self._server, address)
            return address
        port = _add_port(self._server, address)
        return f"{address.rpartition(':')[0]}:{port}"


def _options(maximum_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", maximum_message_bytes),
        ("grpc.max_send_message_length", maximum_message_bytes),
        # Otherwise a second server on the same port binds without an error and takes half of the calls.
        ("grpc.so_reuseport", 0),
        # A peer that vanished is noticed within 30 seconds; without ping_timeout_ms one that is only listened to, as
        # during a queued job, would stay for 60 more.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients may ping this often without being sent away for it.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]


def _add_port(server: grpc.aio.Server, address: str) -> int:
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise CannotListen(f"cannot listen on {address}: it is in use, or no address of this machine") from error


def _bind_unix(server: grpc.aio.Server, address: str) -> None:
    """Bind a Unix socket that only this user can connect to, in place of one that a dead server has left."""
    path = Path(address.removeprefix(UNIX).removeprefix("//"))
    if len(os.fsencode(path)) > LONGEST_UNIX_PATH:
        raise CannotListen(f"cannot listen on {address}: the path is longer than {LONGEST_UNIX_PATH} bytes")
    if not path.parent.is_dir():
        raise CannotListen(f"cannot listen on {address}: there is no folder {path.parent}")
    _remove_stale(path, address)
    previous = os.umask(0o177)  # the socket must not be open to others even for a moment
    try:
        _add_port(server, address)
    finally:
        os.umask(previous)


def _remove_stale(path: Path, address: str) -> None:
    if not os.path.lexists(path):
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise CannotListen(f"cannot listen on {address}: {path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            with suppress(FileNotFoundError):
                path.unlink()
            return
    raise CannotListen(f"cannot listen on {address}: another server listens there")

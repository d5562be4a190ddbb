"""A real `phosphene serve` process and what can be seen of it from outside."""

import socket
import subprocess
import sys
import tempfile
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import phosphene
from benchmarks.speed_cases import REPOSITORY
from benchmarks.speed_process import environment
from benchmarks.speed_usage import children, command
from phosphene_server.workers.process import CHILD_MODULE

FRAME_STEPS = 16
READY_SECONDS = 120.0
LOOK_SECONDS = 0.01
READINESS = "phosphene.v1.MaximizationService"
"""The name under which health tells that the worker is ready; the empty name tells that the front listens."""


class Server:
    """`phosphene serve` on a socket of this machine, with a client; ready once it is made."""

    def __init__(self, *, device: str, **settings: str | float) -> None:
        """Start the service and wait until it is healthy and ready.

        Args:
            device: Where it computes.
            settings: Further settings of the service.

        Raises:
            RuntimeError: it ended, or was not ready in time.
        """
        self.address = f"127.0.0.1:{_free_port()}"
        options = {"listen": self.address, "model_repository": REPOSITORY, "device": device, "parent_pipe": True}
        words = [f"--{name.replace('_', '-')}={value}" for name, value in (options | settings).items()]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # as long as the server
        self._started = time.perf_counter()
        # Its standard input is closed with this process, however that ends, and then it ends, too.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "phosphene", "serve", *words],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log, env=environment("plain"),
        )  # fmt: skip
        try:
            self.healthy_seconds = self._wait_until_serving("")
            self.ready_seconds = self._wait_until_serving(READINESS)
        except BaseException:
            self.stop()
            raise
        self.client = phosphene.connect(self.address)

    @property
    def front(self) -> int:
        """The process that speaks gRPC, by its number."""
        return self._process.pid

    @property
    def worker(self) -> int:
        """The process that computes, by its number."""
        return next(child for child in children(self.front) if CHILD_MODULE in command(child))

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.stop()

    def _wait_until_serving(self, name: str) -> float:
        """Return the seconds from the start until health tells that a service is there."""
        while time.perf_counter() - self._started < READY_SECONDS:
            if self._process.poll() is not None:
                break
            if _serving(self.address, name):
                return time.perf_counter() - self._started
            time.sleep(LOOK_SECONDS)
        self._log.seek(0)
        raise RuntimeError(f"the service is not ready; it wrote:\n{self._log.read()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _serving(address: str, name: str) -> bool:
    """Ask once, over a connection of its own: a channel that was refused waits long before it tries again."""
    try:
        with grpc.insecure_channel(address) as channel:
            request = health_pb2.HealthCheckRequest(service=name)
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=1.0)
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

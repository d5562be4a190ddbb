import asyncio
import os
import socket
import stat
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from phosphene.v1 import maximization_pb2, maximization_pb2_grpc
from phosphene_server.__main__ import field_sentences, main, read_settings
from phosphene_server.app import READY, Application, CannotServe
from phosphene_server.errors import InvalidArgument, WorkerLost
from phosphene_server.settings import Settings
from tests.unit.jobs.front_fakes import FakeWorker, make_root

CHECK = health_pb2.HealthCheckRequest()


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-P", "-m", "phosphene_server", *map(str, arguments)]


def environment() -> dict[str, str]:
    """What a child needs to find the same modules, installed or not."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}


@pytest.fixture
async def worker() -> FakeWorker:
    return FakeWorker()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path / 'socket'}"


def application_of(worker: FakeWorker, **choices: object) -> Application:
    def make_worker(_: Settings, listener: object) -> FakeWorker:
        worker.listener = listener
        return worker

    return Application(Settings(**{"shutdown_grace_seconds": 0.2, **choices}), make_worker=make_worker)


async def finish(application: Application) -> None:
    application.request_stop()
    await application.run()


# Settings


def test_without_anything_the_defaults_are_taken() -> None:
    assert read_settings([], {}) == Settings()


def test_the_command_line_wins_over_the_environment() -> None:
    variables = {"PHOSPHENE_THREADS": "3", "PHOSPHENE_LOG_LEVEL": "error", "PHOSPHENE_MODEL_ADMIN": "1", "THREADS": "9"}
    settings = read_settings(["--threads", "5", "--model-repository", "models"], variables)
    assert settings == Settings(threads=5, log_level="error", model_admin=True, model_repository=Path("models"))


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--listen", "a:1", "--listen", "unix:/b"], {}),
        (["--listen", "a:1,unix:/b"], {"PHOSPHENE_LISTEN": "c:3"}),
        ([], {"PHOSPHENE_LISTEN": "a:1, unix:/b"}),
    ],
)
def test_several_addresses_can_be_given(arguments: list[str], variables: dict[str, str]) -> None:
    assert read_settings(arguments, variables).listen == ("a:1", "unix:/b")


@pytest.mark.parametrize(
    ("words", "expected"),
    [(["--parent-pipe"], True), (["--parent-pipe", "true"], True), (["--parent-pipe", "false"], False)],
)
def test_a_flag_stands_alone_or_with_a_word(words: list[str], expected: bool) -> None:
    assert read_settings(words, {}).parent_pipe is expected


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["--threads", "many"], {}, "--threads: expected a whole number, got 'many'"),
        (["--threads", "-1"], {}, "--threads: expected a number of at least 0, got '-1'"),
        ([], {"PHOSPHENE_THREADS": "1.5"}, "PHOSPHENE_THREADS: expected a whole number, got '1.5'"),
        (["--finished-job-seconds", "nan"], {}, "--finished-job-seconds: expected a number "),
        (["--shutdown-grace-seconds", "soon"], {}, "--shutdown-grace-seconds: expected a number, got 'soon'"),
        (["--model-admin", "maybe"], {}, "--model-admin: expected true or false, got 'maybe'"),
        (["--log-level", "loud"], {}, "--log-level: expected one of 'debug', 'info', 'warning' or 'error', got 'loud'"),
        (["--device", "tpu"], {}, "--device: expected auto, cpu, cuda or cuda:NUMBER, got 'tpu'"),
        (["--listen", "localhost"], {}, "--listen: expected addresses such as 127.0.0.1:50051"),
        ([], {"PHOSPHENE_LISTEN": ""}, "PHOSPHENE_LISTEN: expected addresses"),
    ],
)
def test_a_wrong_setting_is_told_by_its_name(arguments: list[str], variables: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_settings(arguments, variables)
    assert str(caught.value).startswith(message)


def test_a_wrong_setting_ends_the_program_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--threads", "many"]) == 2
    assert capsys.readouterr().err == "phosphene: --threads: expected a whole number, got 'many'\n"


def test_every_setting_has_a_sentence_and_stands_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    sentences = field_sentences()
    with pytest.raises(SystemExit, match="0"):
        read_settings(["--help"], {})
    text = capsys.readouterr().out
    for setting in fields(Settings):
        assert sentences[setting.name].endswith(".")
        assert f"--{setting.name.replace('_', '-')}" in text


# Starting


def test_the_front_imports_no_torch() -> None:
    code = (
        "import sys, phosphene_server.__main__; "
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'torchvision', 'onnx', 'onnxruntime')])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_port_of_zero_is_replaced_by_the_one_that_was_chosen(worker: FakeWorker) -> None:
    application = application_of(worker, listen=("127.0.0.1:0",))
    (address,) = await application.start()
    assert not address.endswith(":0")
    async with grpc.aio.insecure_channel(address) as channel:
        assert (await health_pb2_grpc.HealthStub(channel).Check(CHECK)).status == 1
    await finish(application)
    assert worker.stopped


async def test_a_port_in_use_is_told(worker: FakeWorker) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CannotServe, match=f"cannot listen on {address}: it is in use"):
            await application_of(worker, listen=(address,)).start()


async def test_a_model_repository_that_is_not_there_is_told(worker: FakeWorker, tmp_path: Path) -> None:
    with pytest.raises(CannotServe, match=r"is not a folder \(setting model_repository\)"):
        await application_of(worker, model_repository=tmp_path / "none").start()


async def test_only_its_user_can_reach_a_unix_socket(worker: FakeWorker, address: str, tmp_path: Path) -> None:
    application = application_of(worker, listen=(address,))
    await application.start()
    assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o600
    await finish(application)
    assert not (tmp_path / "socket").exists()


async def test_a_socket_that_a_dead_server_left_is_replaced(worker: FakeWorker, address: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "socket"))
    application = application_of(worker, listen=(address,))
    assert await application.start() == (address,)
    await finish(application)


async def test_a_socket_of_a_living_server_is_left_alone(worker: FakeWorker, address: str) -> None:
    first = application_of(worker, listen=(address,))
    await first.start()
    with pytest.raises(CannotServe, match="another server listens there"):
        await application_of(FakeWorker(), listen=(address,)).start()
    async with grpc.aio.insecure_channel(address) as channel:
        assert (await health_pb2_grpc.HealthStub(channel).Check(CHECK)).status == 1
    await finish(first)


@pytest.mark.parametrize(
    ("name", "message"), [("file", "not a socket"), ("a/b", "no folder"), ("x" * 120, "longer than 107")]
)
async def test_a_path_that_cannot_be_a_socket_is_told(
    worker: FakeWorker, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(CannotServe, match=message):
        await application_of(worker, listen=(f"unix:{tmp_path / name}",)).start()
    assert (tmp_path / "file").read_text() == "precious"


async def test_a_worker_that_cannot_start_ends_the_service_with_the_reason(worker: FakeWorker, address: str) -> None:
    worker.start_error = WorkerLost("no such device")
    application = application_of(worker, listen=(address,), shutdown_grace_seconds=60)
    await application.start()
    with pytest.raises(CannotServe, match=r"the worker could not be started: .* no such device"):
        await asyncio.wait_for(application.run(), 5)
    assert worker.stopped


# Stopping


async def maximize(channel: grpc.aio.Channel) -> grpc.aio.Call:
    """Start a maximization and wait until it was accepted."""
    request = maximization_pb2.MaximizeActivationRequest(model={"name": "net"}, objective={"layer": {"layer": "a"}})
    stream = maximization_pb2_grpc.MaximizationServiceStub(channel).MaximizeActivation(request)
    await stream.read()
    return stream


async def read_all(stream: grpc.aio.Call) -> list[Message]:
    events = []
    while (response := await stream.read()) is not grpc.aio.EOF:
        events.append(response)
    return events


async def test_a_call_that_ends_within_the_grace_ends_well(worker: FakeWorker, address: str, tmp_path: Path) -> None:
    root = make_root(tmp_path / "root")
    application = application_of(worker, listen=(address,), model_repository=root, shutdown_grace_seconds=10)
    await application.start()
    async with grpc.aio.insecure_channel(address) as channel:
        stream = await maximize(channel)
        application.request_stop()
        running = asyncio.ensure_future(application.run())
        await asyncio.sleep(0.05)
        worker.finish()
        assert len(await read_all(stream)) == 1
        assert await stream.code() == grpc.StatusCode.OK
        await asyncio.wait_for(running, 5)


@pytest.mark.parametrize(("grace_seconds", "requests"), [(0.1, 1), (60, 2)])
async def test_after_the_grace_or_a_second_request_calls_are_cancelled(
    worker: FakeWorker, address: str, tmp_path: Path, grace_seconds: float, requests: int
) -> None:
    root = make_root(tmp_path / "root")
    application = application_of(worker, listen=(address,), model_repository=root, shutdown_grace_seconds=grace_seconds)
    await application.start()
    async with grpc.aio.insecure_channel(address) as channel:
        stream = await maximize(channel)
        for _ in range(requests):
            application.request_stop()
        await asyncio.wait_for(application.run(), 5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert worker.cancelled == [worker.jobs[0].job_id]
    assert worker.stopped


# The program


def test_the_program_listens_within_seconds_and_ends_with_its_input(address: str) -> None:
    started = time.monotonic()
    words = command("--listen", address, "--parent-pipe", "true")
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    ) as program:
        assert program.stdout.readline() == f"{READY} {address}\n"
        with grpc.insecure_channel(address) as channel:
            assert health_pb2_grpc.HealthStub(channel).Check(CHECK, wait_for_ready=True, timeout=10).status == 1
        assert time.monotonic() - started < 10  # about one on an idle machine
        program.stdin.close()
        assert program.wait(30) == 0
        assert "Traceback" not in program.stderr.read()


def test_the_program_ends_in_order_at_sigterm(address: str, tmp_path: Path) -> None:
    with subprocess.Popen(
        command("--listen", address), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), text=True
    ) as program:
        program.stdout.readline()
        program.terminate()
        assert program.wait(30) == 0
        assert "Traceback" not in program.stderr.read()
    assert not (tmp_path / "socket").exists()


def test_the_program_says_why_it_cannot_serve(tmp_path: Path) -> None:
    root = tmp_path / "none"
    words = command("--listen", "127.0.0.1:0", "--model-repository", root)
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"phosphene: the model repository {root} is not a folder (setting model_repository)\n"

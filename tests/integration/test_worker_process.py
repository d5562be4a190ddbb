"""A real worker process with torch: how it starts, lives and ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from phosphene_server.errors import InvalidArgument, WorkerLost
from phosphene_server.settings import Settings
from phosphene_server.values.image import TensorImage
from phosphene_server.values.kernel import ApplyKernelRequest, CustomKernel, NamedKernel
from phosphene_server.values.work import ApplyKernel
from phosphene_server.workers.local import LocalWorker

FRONT = """
import asyncio, os, signal, sys, time
import numpy as np
from phosphene_server.settings import Settings
from phosphene_server.values.model import ModelReference
from phosphene_server.values.work import UnloadModel
from phosphene_server.workers.local import LocalWorker

signal.signal(signal.SIGINT, signal.SIG_IGN)
print("front", os.getpid(), flush=True)

async def main():
    worker = LocalWorker(Settings(threads=1), print, on_exit=print)
    await worker.start()
    print("worker", worker._line._process.pid, flush=True)
    sys.stdin.readline()
    print("answer", await worker.run(UnloadModel(ModelReference("nothing"))), flush=True)
    sys.stdin.readline()
    await worker.stop()

asyncio.run(main())
"""


def kernel_task(kernel) -> ApplyKernel:
    picture = np.linspace(0, 1, 16 * 16, dtype=np.float32).reshape(16, 16)
    return ApplyKernel(None, ApplyKernelRequest((TensorImage(picture),), kernel))


@pytest.fixture
async def worker():
    worker = LocalWorker(Settings(threads=1), lambda event: None, on_exit=lambda detail: None)
    await worker.start()
    yield worker
    await worker.stop()


@pytest.fixture
def front(tmp_path: Path):
    """A front in a process group of its own, run as a script that has no main guard."""
    script = tmp_path / "front.py"
    script.write_text(FRONT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    with process:
        yield process
        process.kill()


def read_pid(front: subprocess.Popen, name: str) -> int:
    word, number = front.stdout.readline().split()
    assert word == name
    return int(number)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


async def test_a_task_that_needs_no_model_is_done(worker):
    response = await worker.run(kernel_task(NamedKernel("identity")))
    np.testing.assert_allclose(response.responses[0].values[0], np.linspace(0, 1, 256).reshape(16, 16), atol=1e-6)


async def test_bad_input_is_told_and_the_process_lives(worker):
    with pytest.raises(InvalidArgument):
        await worker.run(kernel_task(CustomKernel(np.zeros((2, 2, 2), np.float32))))
    assert await worker.run(kernel_task(NamedKernel("box")))


async def test_a_killed_process_is_noticed_at_once(worker):
    os.kill(worker._line._process.pid, signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(WorkerLost, match="SIGKILL"):
        await worker.run(kernel_task(NamedKernel("box")))
    assert time.monotonic() - began < 2


async def test_a_device_that_is_not_there_is_told():
    worker = LocalWorker(Settings(device="cuda:99"), lambda event: None, on_exit=lambda detail: None)
    with pytest.raises(WorkerLost, match="cuda:99"):
        await worker.start()


def test_a_script_without_a_main_guard_runs_once(front):
    read_pid(front, "front")
    read_pid(front, "worker")
    out, _ = front.communicate("\n\n", timeout=60)
    assert out.split() == ["answer", "False"]
    assert front.returncode == 0


def test_ctrl_c_in_the_terminal_does_not_reach_the_worker(front):
    read_pid(front, "front")
    worker = read_pid(front, "worker")
    os.killpg(front.pid, signal.SIGINT)
    out, _ = front.communicate("\n\n", timeout=60)
    assert out.split() == ["answer", "False"]
    assert not is_alive(worker)


def test_the_worker_ends_with_its_front_however_that_ends(front):
    os.kill(read_pid(front, "front"), 0)
    worker = read_pid(front, "worker")
    front.kill()
    deadline = time.monotonic() + 10
    while is_alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(worker)

"""The engine of a worker on a GPU: memory and time."""

import logging
import random
import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from phosphene_server.engine.device import CudaTimer, device_errors
from phosphene_server.errors import Overloaded
from phosphene_server.settings import Settings
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import FrameOptions, MaximizeActivationRequest
from phosphene_server.values.work import JobFailed, JobFinished, MaximizationJob, ModelSource
from phosphene_server.workers.child import make_engine

pytestmark = pytest.mark.gpu

BUDGET_BYTES = 2**30
JOBS = 40
PATIENCE_SECONDS = 120.0


class Listener:
    """Takes the place of the line to the front: hears how each job ends."""

    def __init__(self) -> None:
        self.ends: dict[str, JobFinished | JobFailed] = {}
        self.all_ended = threading.Event()

    def tell(self, report: object) -> None:
        if isinstance(report, JobFinished | JobFailed):
            self.ends[report.job_id] = report
            if len(self.ends) == JOBS:
                self.all_ended.set()


@pytest.fixture
def little_memory(device: torch.device) -> Iterator[None]:
    """Leave this process only a little more memory than the budget of the engine, beside what it has already."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(
        (1.25 * BUDGET_BYTES + torch.cuda.memory_reserved(device)) / total, device
    )
    yield
    torch.cuda.set_per_process_memory_fraction(1.0, device)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("captured", [False, True])
def test_jobs_of_all_sizes_never_run_out_of_memory(
    captured: bool,
    source: ModelSource,
    make_request: Callable[..., MaximizeActivationRequest],
    caplog: pytest.LogCaptureFixture,
) -> None:
    listener, chance = Listener(), random.Random(3)
    settings = Settings(device="cuda", memory_bytes=BUDGET_BYTES, cuda_graphs=captured)
    engine, _ = make_engine(settings, listener)  # type: ignore[arg-type]  # all that it asks of a line is `tell`
    loop = threading.Thread(target=engine.run)
    loop.start()
    with caplog.at_level(logging.WARNING):
        for number in range(JOBS):
            side = chance.choice((48, 96, 192, 256))
            request = make_request(
                size=ImageSize(side, side), pictures=chance.randint(1, 16), steps=chance.randint(4, 40),
                seed=number, frames=FrameOptions(every_steps=0),
            )  # fmt: skip
            engine.submit(MaximizationJob(f"job-{number}", source, request))
        ended = listener.all_ended.wait(PATIENCE_SECONDS)
        engine.stop()
        loop.join()
    assert ended
    assert not [end for end in listener.ends.values() if isinstance(end, JobFailed)]
    assert "failed" not in caplog.text  # no batch had to be halved


def test_a_full_device_says_so_and_goes_on(device: torch.device) -> None:
    total = torch.cuda.get_device_properties(device).total_memory
    with pytest.raises(Overloaded), device_errors():
        torch.empty(2 * total, dtype=torch.uint8, device=device)
    assert torch.ones(3, device=device).sum().item() == 3


@pytest.mark.usefixtures("device")
def test_steps_are_charged_with_the_time_of_the_device() -> None:
    timer, charged = CudaTimer(), []
    factor = torch.rand(4096, 4096, device="cuda")
    torch.mm(factor, factor)  # sets the library up
    torch.cuda.synchronize()
    for repetitions in (1, 50):
        timer.begin()
        for _ in range(repetitions):
            torch.mm(factor, factor)
        timer.end(charged.append)
    timer.settle()
    assert charged[1] > 5 * charged[0] > 0

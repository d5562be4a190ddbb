from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from phosphene_server.engine.device import compute_alone, device_errors, open_device
from phosphene_server.engine.failures import DeviceLost, told
from phosphene_server.errors import InternalError, InvalidArgument, NotFound, Overloaded
from phosphene_server.settings import Settings
from phosphene_server.workers.child import make_engine


class Nobody:
    """Takes the place of the line to the front."""

    def tell(self, report):
        raise AssertionError(report)


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_settings_choose_the_device_and_the_threads():
    assert open_device(Settings(device="cpu", threads=1)) == torch.device("cpu")
    assert torch.get_num_threads() == 1


def test_a_helper_computes_alone_and_nobody_else_does():
    torch.set_num_threads(3)
    with ThreadPoolExecutor(1, initializer=compute_alone) as helper:
        assert [helper.submit(torch.get_num_threads).result() for _ in range(2)] == [1, 1]
        with ThreadPoolExecutor(1) as stranger:
            assert stranger.submit(torch.get_num_threads).result() == 3
    assert torch.get_num_threads() == 3


def test_all_helpers_of_a_worker_compute_alone():
    engine, _ = make_engine(Settings(device="cpu", threads=3), Nobody())
    for helpers in (engine._encoders, engine._errands._small, engine._errands._large):
        assert helpers.submit(torch.get_num_threads).result() == 1
        helpers.shutdown()
    assert torch.get_num_threads() == 3


def test_auto_takes_the_processor_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert open_device(Settings(device="auto")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "tpu"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InvalidArgument, match="one of auto, cpu"):
        open_device(Settings(device=name))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
    ],
)
def test_full_memory_means_come_again(error):
    with pytest.raises(Overloaded), device_errors():
        raise error


def test_a_broken_device_ends_the_process():
    with pytest.raises(DeviceLost) as caught, device_errors():
        raise torch.AcceleratorError("an illegal memory access was encountered")
    with pytest.raises(DeviceLost):
        told(caught.value, doing="stepping")


def test_other_errors_are_left_as_they_are():
    with pytest.raises(RuntimeError, match="shapes"), device_errors():
        raise RuntimeError("shapes differ")


def test_a_caller_hears_our_errors_and_no_internals_of_others(caplog):
    ours = NotFound("layer", "x")
    assert told(ours, doing="stepping") is ours
    theirs = told(ValueError("secret"), doing="stepping")
    assert isinstance(theirs, InternalError)
    assert "secret" not in str(theirs)
    assert "secret" in caplog.text

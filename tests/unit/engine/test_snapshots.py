"""Copies for the host; the order of what a CUDA device is asked for is checked with fakes."""

import contextlib

import numpy as np
import pytest
import torch

from phosphene_server.engine import snapshots
from phosphene_server.engine.snapshots import CudaSnapshots, HostSnapshots, as_bytes
from phosphene_server.pictures.encoding import to_bytes


def test_bytes_of_the_device_are_those_of_the_host():
    pictures = torch.rand(3, 3, 9, 7, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    on_host = np.stack([to_bytes(picture) for picture in pictures.numpy()])
    np.testing.assert_array_equal(as_bytes(pictures).numpy(), on_host)


@pytest.mark.parametrize(("take", "expected"), [("copy", 0.5), ("pixels", 128.0)])
def test_a_later_step_does_not_change_what_was_taken(take, expected):
    tensor = torch.full((1, 3, 4, 4), 0.5)
    later = getattr(HostSnapshots(), take)(tensor)
    tensor.fill_(1.0)
    assert {float(value) for value in np.asarray(later()[0]).flat} == {expected}


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """What the device was asked for, in order, and on which stream."""
    log: list[str] = []
    current = ["steps"]

    class Stream:
        def __init__(self, device=None):
            self.name = "copies"

        def wait_stream(self, other):
            log.append(f"{self.name} wait for {other}")

    class Event:
        def __init__(self, **options):
            assert options == {"blocking": True}

        def record(self):
            log.append(f"event on {current[0]}")

        def synchronize(self):
            log.append("host waits")

    @contextlib.contextmanager
    def on(stream):
        current[0] = stream.name
        yield
        current[0] = "steps"

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: "steps")
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda tensor, stream: log.append(f"memory kept for {stream.name}")
    )
    monkeypatch.setattr(snapshots, "pinned_like", torch.empty_like)
    return log


def test_pictures_are_copied_beside_the_steps_and_nobody_waits_before_the_copy_is_used(asked):
    later = CudaSnapshots(torch.device("cpu")).pixels(torch.ones(1, 3, 4, 4))
    assert asked == ["copies wait for steps", "memory kept for copies", "event on copies"]
    assert later()[0].tolist() == np.full((4, 4, 3), 255).tolist()
    assert asked[-1] == "host waits"


def test_numbers_that_the_next_step_overwrites_are_copied_before_it(asked):
    later = CudaSnapshots(torch.device("cpu")).copy(torch.ones(2))
    assert asked == ["event on steps"]
    assert later().tolist() == [1.0, 1.0]

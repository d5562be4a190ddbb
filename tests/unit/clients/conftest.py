"""A scripted server that the client can speak with."""

import tempfile
from collections.abc import AsyncIterator, Iterator

import pytest
from fake_service import FakeService

import phosphene
from phosphene._loop import BackgroundLoop


@pytest.fixture
def service() -> Iterator[FakeService]:
    """A scripted server that runs in a loop and thread of its own."""
    # Not tmp_path: the path of a Unix socket has to be short.
    with tempfile.TemporaryDirectory(prefix="phosphene-") as folder:
        loop = BackgroundLoop()
        service = FakeService(f"unix:{folder}/socket")
        loop.run(service.start())
        yield service
        loop.run(service.stop())
        loop.stop()


@pytest.fixture
def client(service: FakeService) -> Iterator[phosphene.Client]:
    with phosphene.connect(service.address, timeout=10) as client:
        yield client


@pytest.fixture
async def async_client(service: FakeService) -> AsyncIterator[phosphene.aio.Client]:
    async with phosphene.aio.connect(service.address, timeout=10) as client:
        yield client

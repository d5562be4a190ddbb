import pytest
from supervision_bench import SupervisionBench

from phosphene_server.settings import Settings


@pytest.fixture
async def bench():
    bench = SupervisionBench(Settings(worker_restarts=3))
    await bench.supervised.start()
    yield bench
    await bench.supervised.stop()

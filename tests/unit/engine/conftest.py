import pytest
from engine_bench import Bench

from phosphene_server.settings import Settings


@pytest.fixture
def bench() -> Bench:
    return Bench(Settings(maximum_running_lanes=4, progress_seconds=0.025, checkpoint_seconds=1000.0))

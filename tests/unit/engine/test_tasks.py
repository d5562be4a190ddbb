from typing import get_args

import pytest
import torch
from engine_bench import make_source

from phosphene_server.engine.library import ModelLibrary
from phosphene_server.engine.tasks import HANDLERS, Workplace, run_task
from phosphene_server.errors import ModelBusy
from phosphene_server.values.work import DescribeModel, Task, UnloadModel


@pytest.fixture
def place() -> Workplace:
    class Loaded:
        model = "the description"

    return Workplace(ModelLibrary(lambda source: Loaded(), limit=2), torch.device("cpu"))


def test_every_task_has_a_handler():
    assert set(HANDLERS) == set(get_args(Task))


def test_describing_a_model_loads_it(place):
    assert run_task(DescribeModel(make_source("a")), place) == "the description"
    assert run_task(UnloadModel(make_source("a").reference), place) is True


def test_unloading_what_is_not_loaded_is_no_error(place):
    assert run_task(UnloadModel(make_source("a").reference), place) is False


def test_a_model_that_a_job_uses_is_not_unloaded(place):
    place.library.hold(make_source("a"))
    with pytest.raises(ModelBusy):
        run_task(UnloadModel(make_source("a").reference), place)

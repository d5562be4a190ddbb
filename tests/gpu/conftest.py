"""What only a GPU can show. Without one, everything here is skipped; `scripts/gpu-check` runs it where there is one."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from phosphene_server.engine.device import open_device
from phosphene_server.maximization.preparation import prepare
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.models.loading import load_model
from phosphene_server.models.repository import Repository
from phosphene_server.settings import Settings
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import ChannelObjective, MaximizeActivationRequest
from phosphene_server.values.model import ModelReference
from phosphene_server.values.work import ModelSource

LAYER = "conv4"


@pytest.fixture(scope="session")
def device() -> Iterator[torch.device]:
    """The GPU, set up as a worker sets it up."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    threads = torch.get_num_threads()
    yield open_device(Settings(device="cuda"))
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def source() -> ModelSource:
    """The bundled network."""
    return Repository(None).resolve(ModelReference("shapes"))


@pytest.fixture(scope="session")
def model(device: torch.device, source: ModelSource) -> LoadedModel:
    """The bundled network on the GPU."""
    return load_model(source, device)


@pytest.fixture(scope="session")
def host_model(device: torch.device, source: ModelSource) -> LoadedModel:
    """The same on the CPU."""
    return load_model(source, torch.device("cpu"))


@pytest.fixture(scope="session")
def make_request(model: LoadedModel) -> Callable[..., MaximizeActivationRequest]:
    """Makes a prepared request for a 64 by 64 picture, with the default transforms."""

    def make(**settings: Any) -> MaximizeActivationRequest:
        chosen = {"size": ImageSize(64, 64), "seed": 7, "steps": 1000, **settings}
        return prepare(model, MaximizeActivationRequest(ModelReference("shapes"), ChannelObjective(LAYER, 3), **chosen))

    return make

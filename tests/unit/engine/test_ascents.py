"""The engine with real ascents on a network of two layers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engine_bench import make_source

from phosphene_server.engine import ascents
from phosphene_server.engine.ascents import AscentMaximizer
from phosphene_server.engine.engine import Engine
from phosphene_server.engine.library import ModelLibrary
from phosphene_server.errors import ModelBusy, NotFound
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.pictures.encoding import encode
from phosphene_server.settings import Settings
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import (
    ChannelObjective,
    FrameOptions,
    MaximizeActivationRequest,
    ResultOptions,
)
from phosphene_server.values.model import Model, TensorSpecification
from phosphene_server.values.work import Checkpoint, JobCheckpointed, JobFinished, MaximizationJob


def load_network(source) -> LoadedModel:
    """Build a convolution of four filters and a rectifier."""
    builder = GraphBuilder()
    picture = builder.input("picture")
    weight = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(3))
    conv = builder.call(torch.conv2d, picture, builder.tensor("conv.weight", weight))
    builder.layer("conv", "convolution", conv)
    output = builder.call(torch.relu, conv)
    builder.layer("relu", "relu", output)
    inputs = (TensorSpecification("picture", "float32", (-1, 3, -1, -1)),)
    outputs = (TensorSpecification("relu", "float32", (-1, 4, -1, -1)),)
    graph = builder.build([output], input_specifications=inputs, output_specifications=outputs)
    row = source.reference, "", source.sha256, 1, "", inputs, outputs, source.preprocessing, (), "", 300, (), None, 0.0
    return LoadedModel(source, graph, Model(*row), torch.device("cpu"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the network is too small for more
    yield
    torch.set_num_threads(before)


@pytest.fixture
def library() -> ModelLibrary[LoadedModel]:
    return ModelLibrary(load_network, limit=2)


def make_job(job_id: str, *, channel: int = 0, steps: int = 12, checkpoint: Checkpoint | None = None):
    source = make_source()
    request = MaximizeActivationRequest(
        source.reference,
        ChannelObjective("conv", channel),
        steps=steps,
        size=ImageSize(24, 24),
        seed=5,
        frames=FrameOptions(every_steps=4),
        result=ResultOptions(tensors=True),
    )
    return MaximizationJob(job_id, source, request, checkpoint)


def run(library, *jobs: MaximizationJob, checkpoint_seconds: float = 1000.0) -> list:
    events: list = []

    def tell(event) -> None:
        events.append(event)
        if sum(isinstance(event, JobFinished) for event in events) == len(jobs):
            engine.stop()

    engine = Engine(
        Settings(checkpoint_seconds=checkpoint_seconds),
        models=library,
        maximizer=AscentMaximizer(library, torch.device("cpu")),
        run_task=lambda task, between_steps: True,
        encode=encode,
        tell=tell,
        lanes_per_step=8,
        memory_bytes=2**30,
    )
    for job in jobs:
        engine.submit(job)
    engine.run()
    return events


def results(events: list) -> dict:
    return {event.job_id: event.result for event in events if isinstance(event, JobFinished)}


def test_the_picture_excites_the_channel_more_and_more(library):
    result = results(run(library, make_job("a", steps=64)))["a"]
    assert result.history.shape == (64, 1)
    assert result.history[-8:].mean() > result.history[:8].mean() + 0.1
    assert result.tensors[0].shape == (3, 24, 24)
    assert 0.0 <= result.tensors[0].min() <= result.tensors[0].max() <= 1.0


def test_a_job_that_goes_on_from_a_checkpoint_ends_as_if_nothing_had_happened(library):
    events = run(library, make_job("a"), checkpoint_seconds=0.0)
    checkpoints = [event.checkpoint for event in events if isinstance(event, JobCheckpointed)]
    undisturbed = results(events)["a"]
    resumed = results(run(library, make_job("a", checkpoint=checkpoints[0])))["a"]
    np.testing.assert_array_equal(resumed.tensors[0], undisturbed.tensors[0])
    np.testing.assert_array_equal(resumed.history, undisturbed.history)
    assert resumed.images == undisturbed.images


def test_a_neighbour_changes_a_picture_by_no_more_than_rounding(library):
    alone = results(run(library, make_job("a")))["a"]
    together = results(run(library, make_job("a"), make_job("b", channel=2)))["a"]
    np.testing.assert_allclose(together.tensors[0], alone.tensors[0], atol=1e-4)


def test_a_running_job_keeps_its_model_and_lets_go_of_it_at_the_end(library):
    maximizer = AscentMaximizer(library, torch.device("cpu"))
    job = make_job("a")
    lanes = maximizer.begin(job, None)
    with pytest.raises(ModelBusy):
        library.unload(job.source.reference)
    lanes.release()
    assert library.unload(job.source.reference)


def test_a_job_that_cannot_start_lets_go_of_its_model(library, monkeypatch):
    def refuse(model, request):
        raise NotFound("layer", "nowhere")

    monkeypatch.setattr(ascents, "Ascent", refuse)
    job = make_job("a")
    with pytest.raises(NotFound):
        AscentMaximizer(library, torch.device("cpu")).begin(job, None)
    assert library.unload(job.source.reference)


def test_what_comes_out_is_plain(library):
    lanes = AscentMaximizer(library, torch.device("cpu")).begin(make_job("a"), None)
    assert type(lanes.plain_objective()()[0]) is float
    assert lanes.pixels()()[0].dtype == np.uint8
    assert lanes.pixels()()[0].shape == (24, 24, 3)
    assert type(lanes.state()) is bytes


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_a_measured_step_knows_the_activations_and_the_state_of_a_lane(library):
    job = make_job("a", steps=4)
    job = replace(job, request=replace(job.request, size=ImageSize(512, 512)))
    maximizer = AscentMaximizer(library, torch.device("cpu"))
    lanes = maximizer.begin(job, None)
    maximizer.step([lanes])
    footprint = maximizer.measured_step(lanes)
    assert lanes.step == 2
    picture, channels = 3 * 512 * 512 * 4, 4 * 508 * 508 * 4
    assert 3 * picture <= footprint.held <= 20 * picture  # the spectrum and its two moments
    assert channels + picture <= footprint.step <= 20 * (channels + picture)

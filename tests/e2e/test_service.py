"""The whole service over a real socket: front process, worker process, bundled network, SDK."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import phosphene
from phosphene import ModelReference, objectives

FORMATS = ("onnx", "torchscript", "torch_export")


@pytest.fixture(scope="module")
def client() -> Iterator[phosphene.Client]:
    with phosphene.launch() as embedded:
        yield embedded


def star(client: phosphene.Client, **options: object) -> phosphene.Run:
    return client.maximize("shapes", objectives.class_logit("star"), **{"size": (64, 64), "seed": 7, **options})


def test_every_format_of_the_bundled_network_has_the_same_layers(client: phosphene.Client) -> None:
    names = [
        [
            layer.name
            for layer in client.model(ModelReference("shapes", format=model_format)).layers
            if layer.filter_shape
        ]
        for model_format in FORMATS
    ]
    assert names[0] == names[1] == names[2]
    assert len(names[0]) >= 6


def test_filters_are_those_of_the_file_whatever_its_format(client: phosphene.Client) -> None:
    script, export = (
        client.extract_filters(ModelReference("shapes", format=model_format), layer="conv1")
        for model_format in FORMATS[1:]
    )
    assert np.array_equal(script.weights, export.weights)
    assert script.weights.dtype == np.float32
    assert script.figure.width > 200


def test_a_kernel_over_the_wire_agrees_with_scipy(client: phosphene.Client) -> None:
    picture = np.random.default_rng(0).random((40, 50), dtype=np.float32)
    response = client.apply_kernel(picture, kernel="laplacian")
    expected = ndimage.laplace(picture.astype(np.float64), mode="mirror")
    assert response.values.shape == (1, 1, 40, 50)
    assert np.abs(response.values[0, 0] - expected).max() < 1e-5


def test_the_same_request_and_seed_give_the_same_bytes(client: phosphene.Client) -> None:
    first, second = (star(client, steps=24, pictures=2).result() for _ in range(2))
    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.history, second.history)
    assert not np.array_equal(first.images[0], first.images[1])


def test_frames_arrive_while_the_picture_grows(client: phosphene.Client) -> None:
    with star(client, steps=64, frame_every=16) as run:
        frames = list(run)
        result = run.result()
    assert [frame.step for frame in frames] == [16, 32, 48, 64]
    assert frames[-1].objective[0] > frames[0].objective[0]
    assert result.stop_reason == "steps"
    assert result.history.shape == (64, 1)


def test_cancelling_frees_the_worker_before_its_next_step(client: phosphene.Client) -> None:
    run = star(client, steps=100_000)
    next(iter(run))
    run.cancel()
    result = run.result()
    assert result.stop_reason == "cancelled"
    assert 0 < result.step < 100_000
    assert all(job.state != "running" for job in client.maximizations())


def test_leaving_a_run_ends_its_job(client: phosphene.Client) -> None:
    with star(client, steps=100_000) as run:
        next(iter(run))
    deadline = time.monotonic() + 10
    while client.maximization(run.id).state == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.maximization(run.id).state == "cancelled"


def test_a_job_that_lingers_is_found_again_by_its_id(client: phosphene.Client) -> None:
    with star(client, steps=200, frame_every=20, linger=60) as run:
        next(iter(run))
    with client.watch(run.id, from_step=0) as again:
        frames = list(again)
        result = again.result()
    assert frames[0].step == 20
    assert result.step == 200


def test_an_unknown_layer_is_told_with_the_nearest_names(client: phosphene.Client) -> None:
    with pytest.raises(phosphene.errors.NotFound, match="conv1") as caught:
        client.maximize("shapes", objectives.channel("conf1", 0)).result()
    assert "conv1" in caught.value.nearest


def test_a_channel_out_of_range_names_its_field(client: phosphene.Client) -> None:
    objective = objectives.class_logit("star") - 0.5 * objectives.channel("conv1", 4096)
    with pytest.raises(phosphene.errors.InvalidArgument) as caught:
        client.maximize("shapes", objective).result()
    assert caught.value.field == "objective.weighted_sum.terms[1].objective.channel.channel"


def child_of(process: int, module: str) -> int:
    """The process id of the child of a process that runs a module."""
    found = subprocess.run(["pgrep", "-P", str(process), "-f", module], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[-1])


def test_a_killed_worker_is_a_pause_not_an_error(client: phosphene.Client) -> None:
    undisturbed = star(client, steps=300, seed=11).result()
    run = star(client, steps=300, seed=11, frame_every=20)
    frames = iter(run)
    next(frames)
    server = child_of(os.getpid(), "phosphene_server")
    os.kill(child_of(server, "phosphene_server.workers.child"), signal.SIGKILL)
    result = run.result()
    assert result.step == 300
    assert np.array_equal(result.images, undisturbed.images)


def test_clients_side_by_side_get_what_each_would_get_alone(client: phosphene.Client) -> None:
    alone = star(client, steps=32, seed=3).result()
    results: dict[int, phosphene.Result] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: results.update({seed: star(client, steps=32, seed=seed).result()}))
        for seed in (3, 4, 5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.allclose(results[3].history[-1], alone.history[-1], rtol=1e-3)


def test_a_repository_folder_is_served(trained_repository: Path) -> None:
    with phosphene.launch(model_repository=trained_repository) as client:
        names = [model.name for model in client.models()]
        model = client.model("cifar_resnet20")
    assert {"shapes", "squeezenet1_0", "mobilenet_v1_025", "cifar_resnet20"} <= set(names)
    assert model.labels[3] == "cat"
    assert model.parity.largest_deviation < 1e-3

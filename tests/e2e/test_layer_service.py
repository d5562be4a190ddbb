"""Whole layers over a real socket: front process, worker process, bundled network, SDK and command line."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import phosphene
from phosphene import objectives, transforms
from phosphene.cli import app

SETTINGS = {"steps": 24, "size": (48, 48), "seed": 7}


@pytest.fixture(scope="module")
def client() -> Iterator[phosphene.Client]:
    with phosphene.launch() as embedded:
        yield embedded


def test_every_channel_of_a_layer_is_drawn_as_if_it_were_alone(client: phosphene.Client) -> None:
    result = client.maximize_layer("shapes", "conv1", **SETTINGS).result()
    assert list(result.pictures) == list(range(32))
    assert result.sheet is not None
    assert (result.sheet.channels, result.sheet.columns, result.sheet.tile) == (tuple(range(32)), 6, (48, 48))
    for channel in (0, 19):
        alone = client.maximize("shapes", objectives.channel("conv1", channel), **SETTINGS).result()
        picture = result.pictures[channel]
        # In other company the kernels round otherwise; the objective stays.
        assert picture.objective == pytest.approx(alone.objective[0], rel=1e-3)
        difference = np.abs(np.asarray(picture.image, np.int16) - np.asarray(alone.image, np.int16))
        assert np.median(difference) <= 2


@pytest.mark.parametrize("target", ["channel", "neuron"])
def test_a_picture_is_that_of_a_single_maximization_to_the_byte(client: phosphene.Client, target: str) -> None:
    run = client.maximize_layer("shapes", "conv2", [5], target=target, **{**SETTINGS, "seed": None})
    picture = run.result().pictures[5]
    objective = getattr(objectives, target)("conv2", 5)
    alone = client.maximize("shapes", objective, **{**SETTINGS, "seed": run.settings.seed}).result()
    assert picture.encoded == alone.encoded[0]


def test_a_small_job_beside_a_layer_ends_before_it(client: phosphene.Client) -> None:
    ended: list[str] = []
    begun = threading.Event()

    def draw_layer() -> None:
        with client.maximize_layer("shapes", "conv2", range(40), **{**SETTINGS, "steps": 120}) as run:
            for event in run.events():
                if isinstance(event, phosphene.LayerProgress) and event.step:
                    begun.set()
            ended.append("layer")

    thread = threading.Thread(target=draw_layer)
    thread.start()
    assert begun.wait(60)
    client.maximize("shapes", objectives.class_logit("star"), steps=8, size=(48, 48)).result()
    ended.append("small")
    thread.join()
    assert ended == ["small", "layer"]


def test_a_layer_that_is_cancelled_keeps_its_pictures_and_frees_the_worker(client: phosphene.Client) -> None:
    stop = [phosphene.stop_rules.target(-1e9)]  # the first pictures end at once
    run = client.maximize_layer("shapes", "conv1", [0, 1], stop_rules=stop, **SETTINGS)
    assert [picture.stop_reason for picture in run] == ["target"] * 2
    run = client.maximize_layer("shapes", "conv1", range(32), **{**SETTINGS, "steps": 100_000})
    for event in run.events():
        if isinstance(event, phosphene.LayerProgress) and event.step:
            run.cancel()
            break
    result = run.result()
    assert (result.cancelled, dict(result.pictures), result.sheet) == (True, {}, None)
    assert client.maximization(run.id).state == "cancelled"
    assert client.maximize("shapes", objectives.class_logit("star"), steps=2, size=(48, 48)).result().step == 2


def test_a_layer_whose_client_is_gone_is_found_again_whole(client: phosphene.Client) -> None:
    with client.maximize_layer("shapes", "conv1", range(12), linger=60, **SETTINGS) as run:
        known = next(iter(run)).channel
    again = client.watch_layer(run.id)
    pictures = again.result().pictures
    assert len(pictures) == 12
    assert known in pictures
    late = client.watch_layer(run.id, from_picture=10)
    assert [picture.index for picture in late] == [10, 11]


@pytest.mark.parametrize(
    ("layer", "channels", "field"),
    [("conf2", None, "layer"), ("conv2", [0, 1, 999], "channels[2]"), ("conv2", [4, 4], "channels[1]")],
)
def test_bad_input_names_its_field(
    client: phosphene.Client, layer: str, channels: list[int] | None, field: str
) -> None:
    with pytest.raises((phosphene.errors.InvalidArgument, phosphene.errors.NotFound)) as caught:
        client.maximize_layer("shapes", layer, channels)
    assert caught.value.field == field
    if field == "layer":
        assert "conv2" in caught.value.nearest


def test_priority_precision_and_the_size_that_the_network_sees_are_kept(client: phosphene.Client) -> None:
    choices = {"priority": 4, "precision": "bfloat16", "transforms": [transforms.resize(height=96, width=96)]}
    run = client.maximize_layer("shapes", "conv2", [3], **SETTINGS, **choices)
    picture = run.result().pictures[3]
    assert (run.settings.priority, run.settings.precision) == (4, "bfloat16")
    assert run.settings.transforms == (transforms.resize(height=96, width=96),)
    assert picture.image.size == (48, 48)
    plain = client.maximize_layer("shapes", "conv2", [3], **SETTINGS, transforms=()).result().pictures[3]
    assert picture.encoded != plain.encoded


def test_more_priority_than_the_operator_allows_is_refused(client: phosphene.Client) -> None:
    for start in (
        lambda: client.maximize_layer("shapes", "conv1", [0], priority=5),
        lambda: client.maximize("shapes", objectives.channel("conv1", 0), priority=5),
    ):
        with pytest.raises(phosphene.errors.InvalidArgument, match=r"priority: expected 1, or up to 4 .*, got 5"):
            start()


def test_the_atlas_of_a_layer_is_written(client: phosphene.Client, tmp_path: Path) -> None:
    words = ["atlas", "shapes", "conv1", "--channels", "0-5", "--steps", "8", "--size", "32", "--out", str(tmp_path)]
    answer = CliRunner().invoke(app, words, env={**os.environ, "PHOSPHENE_SERVER": client.address})
    assert answer.exit_code == 0, answer.output
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 6
    assert (tmp_path / "index.html").read_text().count("<figure ") == 6
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def child_of(process: int, module: str) -> int:
    """The process id of the child of a process that runs a module."""
    found = subprocess.run(["pgrep", "-P", str(process), "-f", module], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[-1])


def test_a_killed_worker_costs_a_layer_no_picture(client: phosphene.Client) -> None:
    settings = {**SETTINGS, "steps": 200}
    undisturbed = client.maximize_layer("shapes", "conv2", range(6), **settings).result()
    run = client.maximize_layer("shapes", "conv2", range(6), **settings)
    for event in run.events():
        if isinstance(event, phosphene.LayerProgress) and event.step:
            server = child_of(os.getpid(), "phosphene_server")
            os.kill(child_of(server, "phosphene_server.workers.child"), signal.SIGKILL)
            break
    result = run.result()
    assert {warning.reason for warning in run.warnings} == {"WORKER_RESTARTED"}
    assert (result.failures, result.cancelled, list(result.pictures)) == ({}, False, list(range(6)))
    for channel, picture in undisturbed.pictures.items():
        assert result.pictures[channel].objective == pytest.approx(picture.objective, rel=1e-3)


def pictures_of(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("pictures/*.png")}


def test_ctrl_c_keeps_the_pictures_of_an_atlas_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = "atlas shapes conv1 --size 48 --steps 160 --seed 3 --out it"
    words = [sys.executable, "-m", "phosphene", *command.split()]
    environment = {name: value for name, value in os.environ.items() if name != "PHOSPHENE_SERVER"}
    # A terminal interrupts all that belong to the command, the server that it has started among them.
    running = subprocess.Popen(words, cwd=tmp_path, env=environment, start_new_session=True, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not pictures_of(tmp_path / "it") and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)
    told = running.communicate(timeout=60)[0].decode()
    kept = {name: (tmp_path / "it" / "pictures" / name).stat().st_mtime_ns for name in pictures_of(tmp_path / "it")}
    assert running.returncode == 130
    assert 0 < len(kept) < 32
    assert f"{len(kept)} of 32 pictures, {32 - len(kept)} missing: the same command goes on with them" in told
    assert (tmp_path / "it" / "index.html").read_text().count("<figure ") == len(kept)
    subprocess.run(words, cwd=tmp_path, env=environment, check=True, timeout=120, stdout=subprocess.DEVNULL)
    assert len(pictures_of(tmp_path / "it")) == 32
    assert all((tmp_path / "it" / "pictures" / name).stat().st_mtime_ns == time_ns for name, time_ns in kept.items())

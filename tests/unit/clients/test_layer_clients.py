"""Maximizations of layers with both clients, against a scripted server."""

import asyncio

import numpy as np
import pytest

import phosphene
from phosphene import errors

ORDER = [7, 6, 4, 3, 2, 1, 0]
"""In which the scripted server finishes the channels; 5 fails."""


def test_iterating_gives_each_picture_as_it_is_finished(client):
    run = client.maximize_layer("tiny", "conv1")
    pictures = list(run)
    assert [(picture.channel, picture.index) for picture in pictures] == list(zip(ORDER, range(7), strict=True))
    assert pictures[0].image.getpixel((0, 0)) == (200, 100, 7)
    assert (pictures[0].objective, pictures[0].step, pictures[0].stop_reason) == (7.5, 64, "steps")
    assert pictures[0]._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("iterate", [True, False])
def test_the_result_has_the_pictures_by_channel_and_the_sheet(client, iterate):
    run = client.maximize_layer("tiny", "conv1", channels=[6, 5, 2])
    if iterate:
        list(run)
    result = run.result()
    assert list(result.pictures) == [6, 2]
    assert result.pictures[2].image.getpixel((0, 0)) == (200, 100, 2)
    assert result.failures[5].message == "the memory is full"
    assert (result.sheet.channels, result.sheet.columns, result.sheet.tile) == ((6, 2), 3, (4, 6))
    assert result.sheet.image.getpixel((0, 0)) == (1, 2, 3)
    assert result._repr_png_() == result.sheet._repr_png_()
    assert (result.cancelled, result.duration_seconds) == (False, 2.0)


def test_a_run_tells_its_id_settings_progress_and_what_came_so_far(client):
    run = client.maximize_layer("tiny", "conv1", steps=64, size=(4, 6))
    assert (run.id, run.settings.seed, run.settings.channels) == ("layer-1", 7, tuple(range(8)))
    assert run.progress is None
    iterator = iter(run)
    next(iterator)
    next(iterator)
    assert list(run.pictures) == [7, 6]
    assert (run.progress.finished, run.progress.remaining_seconds) == (1, 61.0)
    run.result()
    assert list(run.failures) == [5]
    assert [warning.channel for warning in run.warnings] == [0]


def test_events_come_in_order_with_the_result_last(client):
    run = client.maximize_layer("tiny", "conv1", [2, 5], frame_every=16)
    kinds = [type(event).__name__ for event in run.events()]
    assert kinds == ["LayerFailure", "LayerFrame", "LayerPicture", "LayerProgress", "LayerWarning", "LayerResult"]


def test_the_choices_reach_the_server(client, service):
    client.maximize_layer("tiny", "conv1", range(3), target="neuron", learning_rate=0.5, transforms=(), sheet_tile=32)
    [request] = service.maximizations.requests
    assert (request.layer, list(request.channels), request.target) == ("conv1", [0, 1, 2], 2)
    assert request.optimizer.adam.learning_rate == 0.5
    assert request.HasField("transforms")
    assert request.sheet.tile_size == 32
    assert not request.HasField("frames")


def test_no_channels_at_all_are_not_taken_for_all(client, service):
    with pytest.raises(errors.InvalidArgument, match="channels: expected at least one channel"):
        client.maximize_layer("tiny", "conv1", [])
    assert service.maximizations.requests == []


def test_the_accepted_settings_run_again(client):
    first = client.maximize_layer("tiny", "conv1", steps=64, seed=5, fixed_inputs={"mask": np.ones(2)})
    second = client.maximize_layer(**vars(first.settings))
    assert second.settings == first.settings


def test_a_layer_is_watched_by_its_id_from_the_first_unknown_picture(client, service):
    run = client.watch_layer("layer-1", from_picture=5)
    assert [picture.channel for picture in run] == [1, 0]
    assert service.maximizations.requests[-1].from_picture == 5
    with pytest.raises(errors.InvalidArgument, match="from_picture"):
        client.watch_layer("layer-1", from_picture=-1)


def test_layers_are_listed_with_the_other_jobs(client, service):
    service.maximizations.listed_layer = True
    layer = client.maximizations()[-1]
    assert isinstance(layer.settings, phosphene.LayerSettings)
    assert (layer.id, layer.settings.layer, layer.progress.finished) == ("layer-1", "conv1", 3)


def test_an_interrupted_wait_cancels_the_job_and_keeps_what_came(client, service, monkeypatch):
    run = client.maximize_layer("tiny", "conv1")
    next(iter(run))
    wait = run._loop.run
    interrupted = iter([True])

    def interrupt(answer):
        if next(interrupted, False):
            answer.close()
            raise KeyboardInterrupt
        return wait(answer)

    monkeypatch.setattr(run._loop, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.result()
    assert service.maximizations.cancelled == ["layer-1"]
    assert list(run.pictures) == [7]


def test_the_methods_keep_the_documentation_of_the_asynchronous_client():
    assert phosphene.Client.maximize_layer.__doc__ == phosphene.aio.Client.maximize_layer.__doc__


async def test_the_asynchronous_run_gives_pictures_and_result(async_client):
    run = await async_client.maximize_layer("tiny", "conv1", [1, 3])
    assert [picture.channel async for picture in run] == [3, 1]
    assert list((await run.result()).pictures) == [1, 3]
    watched = await async_client.watch_layer("layer-1")
    assert len([event async for event in watched.events()]) == 17


async def test_a_closed_run_ends_the_call(async_client, service):
    service.maximizations.hang_before_channel = 3
    async with await async_client.maximize_layer("tiny", "conv1") as run:
        await anext(aiter(run))
    async with asyncio.timeout(5):
        while not service.maximizations.closed.is_set():
            await asyncio.sleep(0.01)


async def test_a_job_that_fails_raises_in_the_iteration(async_client, service):
    service.maximizations.fail_after_frames = True
    run = await async_client.maximize_layer("tiny", "conv1", [1])
    with pytest.raises(errors.WorkerLost, match="the worker is gone"):
        await run.result()
    assert list(run.pictures) == [1]

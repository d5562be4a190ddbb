"""Maximizations of layers over a real connection."""

import asyncio
import io

import grpc
import numpy as np
import PIL.Image
import pytest

from phosphene.v1 import maximization_pb2 as pb
from phosphene_server.errors import WorkerLost
from phosphene_server.values.image import EncodedImage
from phosphene_server.values.maximization import MaximizationResult, StopReason
from phosphene_server.values.work import JobFailed, JobFinished
from tests.unit.rpc.front_server import Front

REQUEST = pb.MaximizeLayerRequest(model={"name": "net"}, layer="conv1", channels=[4, 1, 6])


async def begin(front: Front, request: pb.MaximizeLayerRequest = REQUEST, **options: object):
    stream = front.maximizations.MaximizeLayer(request, **options)
    return stream, (await stream.read()).event.accepted


def finish(front: Front, job_id: str, channel: int, *, reason: StopReason = "steps", size: tuple[int, int] = (48, 32)):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", size, (60 + channel, 0, 0)).save(buffer, "PNG")
    image = EncodedImage(buffer.getvalue(), "image/png")
    result = MaximizationResult(256, reason, (image,), (), (channel / 2,), np.zeros((256, 1)), 1.0)
    front.worker.listener(JobFinished(f"{job_id}.{channel}", result))


async def rest(stream) -> list[pb.LayerEvent]:
    events = []
    while (response := await stream.read()) is not grpc.aio.EOF:
        events.append(response.event)
    return events


async def until(condition, *, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_layer_streams_its_pictures_as_they_are_finished_and_the_sheet_last(front: Front) -> None:
    stream, accepted = await begin(front)
    assert (accepted.pictures, list(accepted.settings.channels)) == (3, [4, 1, 6])
    assert (accepted.settings.seed, accepted.settings.steps, accepted.settings.sheet.columns) == (7, 256, 2)
    for channel in (1, 6, 4):
        finish(front, accepted.maximization_id, channel)
        picture = (await stream.read()).event.picture
        assert (picture.channel, picture.objective, picture.stop_reason) == (channel, channel / 2, pb.STOP_REASON_STEPS)
        if channel != 4:
            assert (await stream.read()).event.progress.finished == picture.index + 1
    *_, last = await rest(stream)
    assert list(last.result.sheet.channels) == [4, 1, 6]
    assert PIL.Image.open(io.BytesIO(last.result.sheet.image.data)).width == 2 * 51 + 3
    assert await stream.code() == grpc.StatusCode.OK


async def test_the_settings_of_a_layer_start_it_again(front: Front) -> None:
    _, first = await begin(front)
    _, second = await begin(front, first.settings)
    assert second.settings == first.settings


async def test_a_lost_connection_loses_no_picture(front: Front) -> None:
    request = pb.MaximizeLayerRequest()
    request.CopyFrom(REQUEST)
    request.linger.seconds = 60
    stream, accepted = await begin(front, request)
    finish(front, accepted.maximization_id, 6)
    stream.cancel()
    await asyncio.sleep(0.05)
    finish(front, accepted.maximization_id, 1)
    again = front.maximizations.WatchLayer(pb.WatchLayerRequest(maximization_id=accepted.maximization_id))
    known = front.maximizations.WatchLayer(
        pb.WatchLayerRequest(maximization_id=accepted.maximization_id, from_picture=1)
    )
    assert (await again.read()).event.accepted == accepted
    assert [(await again.read()).event.picture.channel for _ in range(2)] == [6, 1]
    finish(front, accepted.maximization_id, 4)
    assert [event.picture.channel for event in await rest(known) if event.HasField("picture")] == [1, 4]
    assert (await rest(again))[-1].HasField("result")


async def test_a_client_that_leaves_ends_its_layer(front: Front) -> None:
    stream, accepted = await begin(front)
    stream.cancel()
    await until(lambda: len(front.worker.cancelled) == 3)
    assert set(front.worker.cancelled) == {f"{accepted.maximization_id}.{channel}" for channel in (4, 1, 6)}


async def test_a_cancelled_layer_ends_with_the_pictures_that_were_finished(front: Front) -> None:
    stream, accepted = await begin(front)
    finish(front, accepted.maximization_id, 1)
    cancel = pb.CancelMaximizationRequest(maximization_id=accepted.maximization_id)
    assert (await front.maximizations.CancelMaximization(cancel)).cancelled
    for channel in (4, 6):
        finish(front, accepted.maximization_id, channel, reason="cancelled")
    events = await rest(stream)
    assert [event.picture.channel for event in events if event.HasField("picture")] == [1]
    assert (events[-1].result.cancelled, events[-1].result.finished) == (True, 1)
    assert await stream.code() == grpc.StatusCode.OK


async def test_a_slow_watcher_loses_no_picture(front: Front) -> None:
    stream, accepted = await begin(front)
    for channel in (4, 1, 6):
        finish(front, accepted.maximization_id, channel, size=(2000, 2000))
    await asyncio.sleep(0.1)
    pictures = [event.picture for event in await rest(stream) if event.HasField("picture")]
    assert [picture.channel for picture in pictures] == [4, 1, 6]


async def test_a_layer_all_of_whose_channels_fail_ends_with_the_error_of_the_first(front: Front) -> None:
    stream, accepted = await begin(front)
    for channel in (1, 4, 6):
        front.worker.listener(JobFailed(f"{accepted.maximization_id}.{channel}", WorkerLost(f"no channel {channel}")))
    assert (await stream.read()).event.failure.reason == "WORKER_LOST"
    with pytest.raises(grpc.aio.AioRpcError, match="no channel 1") as caught:
        await rest(stream)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("changes", "field"), [({"channels": [1, 8]}, "channels[1]"), ({"channels": [3, 3]}, "channels[1]")]
)
async def test_wrong_channels_are_told_by_field(front: Front, details, changes: dict[str, object], field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await begin(front, pb.MaximizeLayerRequest(model={"name": "net"}, layer="conv1", **changes))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert details(caught.value)["BadRequest"].field_violations[0].field == field


async def test_layers_are_listed_and_watched_as_layers(front: Front, details) -> None:
    _, accepted = await begin(front)
    (listed,) = (await front.maximizations.ListMaximizations(pb.ListMaximizationsRequest())).maximizations
    assert (listed.layer_settings.layer, listed.layer_progress.pictures) == ("conv1", 3)
    assert not listed.HasField("settings")
    watched = pb.WatchMaximizationRequest(maximization_id=accepted.maximization_id)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await front.maximizations.WatchMaximization(watched).read()
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND

"""Maximizations over a real connection: streams, deadlines, disconnects, slow and late watchers."""

import asyncio
from collections.abc import Callable

import grpc
import pytest

from phosphene.v1 import maximization_pb2 as pb
from phosphene_server.errors import WorkerLost
from phosphene_server.values.work import JobFailed
from tests.unit.rpc.front_server import Front

REQUEST = pb.MaximizeActivationRequest(model={"name": "net"}, objective={"channel": {"layer": "conv1", "channel": 3}})


async def until(condition: Callable[[], object], *, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def begin(front: Front, request: pb.MaximizeActivationRequest = REQUEST, **options: object):
    """Start a maximization, and return its stream and its id once it was accepted."""
    stream = front.maximizations.MaximizeActivation(request, **options)
    accepted = (await stream.read()).event.accepted
    return stream, accepted.maximization_id


def lingering(seconds: float) -> pb.MaximizeActivationRequest:
    request = pb.MaximizeActivationRequest()
    request.CopyFrom(REQUEST)
    request.linger.FromNanoseconds(int(seconds * 1e9))
    return request


async def rest(stream) -> list[pb.MaximizationEvent]:
    events = []
    while (response := await stream.read()) is not grpc.aio.EOF:
        events.append(response.event)
    return events


async def kinds(stream) -> list[str]:
    return [event.WhichOneof("kind") for event in await rest(stream)]


async def state(front: Front, job_id: str) -> int:
    reply = await front.maximizations.GetMaximization(pb.GetMaximizationRequest(maximization_id=job_id))
    return reply.maximization.state


async def test_a_maximization_streams_its_events_in_order(front: Front) -> None:
    stream = front.maximizations.MaximizeActivation(REQUEST)
    accepted = (await stream.read()).event.accepted
    assert (accepted.settings.steps, accepted.settings.seed, accepted.settings.model.version) == (256, 7, "1")
    front.worker.progress(8)
    assert (await stream.read()).event.progress.objective == [8.0]
    front.worker.frame(8)
    shown = (await stream.read()).event.frame
    assert (shown.step, shown.images[0].data, shown.dropped) == (8, b"picture", 0)
    front.worker.warn(9)
    assert (await stream.read()).event.warning.reason == "NO_GRADIENT"
    front.worker.finish()
    assert (await stream.read()).event.result.stop_reason == pb.STOP_REASON_STEPS
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() == grpc.StatusCode.OK


async def test_the_settings_of_a_job_start_it_again(front: Front) -> None:
    stream = front.maximizations.MaximizeActivation(REQUEST)
    settings = (await stream.read()).event.accepted.settings
    again = front.maximizations.MaximizeActivation(settings)
    assert (await again.read()).event.accepted.settings == settings


@pytest.mark.parametrize("way", ["cancel", "close"])
async def test_a_client_that_leaves_ends_its_job(front: Front, way: str) -> None:
    stream, job_id = await begin(front)
    if way == "cancel":
        stream.cancel()
    else:
        del stream  # or it would go on: before 1.83, grpcio closes a channel without ending its streams
        await front.channel.close()
    await until(lambda: front.worker.cancelled == [job_id], seconds=1)


async def test_a_client_that_leaves_while_frames_are_sent_ends_its_job(front: Front, caplog) -> None:
    stream, job_id = await begin(front)
    for step in range(200):
        front.worker.frame(step, data=bytes(100_000))
        await asyncio.sleep(0.0005)
    stream.cancel()
    await until(lambda: front.worker.cancelled == [job_id], seconds=1)
    await asyncio.sleep(0.05)
    assert caplog.records == []


async def test_a_client_that_leaves_while_its_job_is_prepared_leaves_none(make_front) -> None:
    front = await make_front(maximum_jobs=1)
    front.worker.gate.clear()
    stream = front.maximizations.MaximizeActivation(REQUEST)
    reading = asyncio.ensure_future(stream.read())
    await until(lambda: front.worker.tasks)
    stream.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()
    await asyncio.sleep(0.1)  # until the server has heard
    front.worker.gate.set()
    _, job_id = await begin(front)
    assert [job.job_id for job in front.worker.jobs] == [job_id]


async def test_a_deadline_ends_the_job(front: Front) -> None:
    stream, job_id = await begin(front, timeout=0.2)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: front.worker.cancelled == [job_id], seconds=1)


async def test_a_slow_watcher_loses_frames_that_are_counted_and_gets_the_result(front: Front) -> None:
    stream, _ = await begin(front)
    for step in range(300):
        front.worker.frame(step, data=bytes(50_000))
        await asyncio.sleep(0.0005)
    front.worker.finish()
    events = await rest(stream)
    steps = [event.frame.step for event in events if event.HasField("frame")]
    dropped = [event.frame.dropped for event in events if event.HasField("frame")]
    assert steps == sorted(steps)
    assert steps[-1] == 299
    assert len(steps) < 100
    assert dropped[-1] + len(steps) == 300
    assert events[-1].WhichOneof("kind") == "result"


async def test_a_slow_watcher_does_not_hold_up_another(front: Front) -> None:
    slow, job_id = await begin(front)
    fast = front.maximizations.WatchMaximization(pb.WatchMaximizationRequest(maximization_id=job_id))
    await fast.read()
    for step in range(100):
        front.worker.frame(step, data=bytes(50_000))
        assert (await fast.read()).event.frame.step == step
    front.worker.finish()
    assert (await fast.read()).event.HasField("result")
    assert (await kinds(slow))[-1] == "result"


async def test_a_late_watcher_gets_the_kept_frames_and_the_result(front: Front) -> None:
    stream, job_id = await begin(front)
    for step in (8, 16, 24):
        front.worker.frame(step)
    late = front.maximizations.WatchMaximization(pb.WatchMaximizationRequest(maximization_id=job_id, from_step=16))
    assert (await late.read()).event.accepted.maximization_id == job_id
    assert [(await late.read()).event.frame.step for _ in range(2)] == [16, 24]
    front.worker.finish()
    assert await kinds(late) == ["result"]
    assert (await kinds(stream))[-1] == "result"
    after = front.maximizations.WatchMaximization(pb.WatchMaximizationRequest(maximization_id=job_id))
    assert await kinds(after) == ["accepted", "result"]


async def test_a_job_that_lingers_is_found_again(front: Front) -> None:
    stream, job_id = await begin(front, lingering(5))
    stream.cancel()
    await asyncio.sleep(0.1)
    assert front.worker.cancelled == []
    again = front.maximizations.WatchMaximization(pb.WatchMaximizationRequest(maximization_id=job_id))
    await again.read()
    front.worker.finish()
    assert await kinds(again) == ["result"]


async def test_a_job_that_lingers_ends_when_nobody_returns(front: Front) -> None:
    stream, job_id = await begin(front, lingering(0.1))
    stream.cancel()
    await until(lambda: front.worker.cancelled == [job_id])


async def test_cancelling_gives_the_watchers_the_result_so_far(front: Front) -> None:
    stream, job_id = await begin(front)
    cancel = front.maximizations.CancelMaximization
    assert (await cancel(pb.CancelMaximizationRequest(maximization_id=job_id))).cancelled
    assert front.worker.cancelled == [job_id]
    front.worker.finish(stop_reason="cancelled")
    assert (await stream.read()).event.result.stop_reason == pb.STOP_REASON_CANCELLED
    assert await stream.read() is grpc.aio.EOF
    assert not (await cancel(pb.CancelMaximizationRequest(maximization_id=job_id))).cancelled
    assert await state(front, job_id) == pb.MAXIMIZATION_STATE_CANCELLED


async def test_a_job_that_fails_ends_its_stream_with_the_error(front: Front) -> None:
    stream, job_id = await begin(front)
    front.worker.listener(JobFailed(job_id, WorkerLost("gone for good")))
    with pytest.raises(grpc.aio.AioRpcError, match="gone for good") as caught:
        await stream.read()
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert await state(front, job_id) == pb.MAXIMIZATION_STATE_FAILED


async def test_too_many_jobs_are_refused_with_the_time_to_come_again(make_front, details) -> None:
    front = await make_front(maximum_jobs=1)
    await begin(front)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await begin(front)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert details(caught.value)["RetryInfo"].retry_delay.seconds == 5


async def test_jobs_are_described_and_listed(front: Front) -> None:
    ids = [(await begin(front))[1] for _ in range(3)]
    front.worker.progress(5)
    first = await front.maximizations.ListMaximizations(pb.ListMaximizationsRequest(page_size=2))
    rest = await front.maximizations.ListMaximizations(pb.ListMaximizationsRequest(page_token=first.next_page_token))
    assert [job.maximization_id for job in (*first.maximizations, *rest.maximizations)] == ids[::-1]
    newest = first.maximizations[0]
    assert (newest.state, newest.progress.step) == (pb.MAXIMIZATION_STATE_RUNNING, 5)
    assert newest.create_time.seconds > 1_700_000_000


@pytest.mark.parametrize("call", ["GetMaximization", "CancelMaximization", "WatchMaximization"])
async def test_a_job_that_is_not_there_is_not_found(front: Front, call: str) -> None:
    answer = getattr(front.maximizations, call)(getattr(pb, f"{call}Request")(maximization_id="nobody"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (answer if hasattr(answer, "__await__") else answer.read())
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND

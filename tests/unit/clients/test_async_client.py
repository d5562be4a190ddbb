"""The asynchronous client against a scripted server."""

import asyncio

import pytest
from fake_service import FRAME_STEPS

import phosphene
from phosphene import errors, objectives


async def test_a_run_gives_frames_and_result(async_client):
    run = await async_client.maximize("tiny", objectives.class_logit("star"), steps=64, seed=3)
    assert [frame.step async for frame in run] == list(FRAME_STEPS)
    result = await run.result()
    assert result.images.shape == (1, 4, 6, 3)
    assert run.settings.seed == 3


async def test_jobs_run_side_by_side(async_client):
    runs = [await async_client.maximize("tiny", objectives.channel("conv1", index)) for index in range(5)]
    results = await asyncio.gather(*(run.result() for run in runs))
    assert [result.step for result in results] == [64] * 5


async def test_a_closed_run_ends_the_call(async_client, service):
    service.maximizations.hang_after_frames = True
    async with await async_client.maximize("tiny", objectives.channel("conv1", 3)) as run:
        await anext(aiter(run))
    async with asyncio.timeout(5):
        while not service.maximizations.closed.is_set():
            await asyncio.sleep(0.01)


async def test_a_closed_client_ends_the_calls_of_its_runs(service):
    service.maximizations.hang_after_frames = True
    async with phosphene.aio.connect(service.address) as client:
        run = await client.maximize("tiny", objectives.channel("conv1", 3))
    async with asyncio.timeout(5):
        while not service.maximizations.closed.is_set():
            await asyncio.sleep(0.01)
    with pytest.raises(errors.Cancelled, match="closed"):
        await run.result()


async def test_a_cancelled_wait_ends_the_call(async_client, service):
    service.maximizations.hang_after_frames = True
    run = await async_client.maximize("tiny", objectives.channel("conv1", 3))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run.result(), 0.2)
    async with asyncio.timeout(5):
        while not service.maximizations.closed.is_set():
            await asyncio.sleep(0.01)


async def test_a_deadline_ends_the_run(async_client, service):
    service.maximizations.hang_after_frames = True
    run = await async_client.maximize("tiny", objectives.channel("conv1", 3), timeout=0.3)
    with pytest.raises(errors.DeadlineExceeded):
        await run.result()


async def test_a_job_that_fails_raises_in_the_iteration(async_client, service):
    service.maximizations.fail_after_frames = True
    run = await async_client.maximize("tiny", objectives.channel("conv1", 3))
    frames = aiter(run)
    assert [(await anext(frames)).step for _ in FRAME_STEPS] == list(FRAME_STEPS)
    with pytest.raises(errors.WorkerLost, match="the worker is gone") as caught:
        await anext(frames)
    assert caught.value.retry_after_seconds == 2.5


async def test_models_filters_and_jobs_are_there_too(async_client):
    assert (await async_client.model("tiny")).name == "tiny"
    assert (await async_client.extract_filters("tiny", "conv1")).groups == 1
    assert [job.id for job in await async_client.maximizations()] == ["b", "a"]
    assert (await async_client.watch("job-1")).id == "job-1"
    assert await async_client.cancel("job-1")


async def test_a_closed_client_refuses_to_start(service):
    async with phosphene.aio.connect(service.address) as client:
        pass
    with pytest.raises(errors.Unavailable, match="closed"):
        await client.maximize("tiny", objectives.layer("conv1"))

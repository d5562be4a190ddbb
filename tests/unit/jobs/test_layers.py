import asyncio
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from phosphene_server.errors import InvalidArgument, LayerUnusable, NotFound, Overloaded, WorkerLost
from phosphene_server.jobs.board import MaximizationBoard
from phosphene_server.jobs.layer import OUTSTANDING_PICTURES, reason_of
from phosphene_server.jobs.layer_request import chosen_channels, picture_request
from phosphene_server.jobs.layer_watch import LayerWatch
from phosphene_server.jobs.loaded import LoadedModels
from phosphene_server.models.repository import Repository
from phosphene_server.rpc.statuses import STATUSES
from phosphene_server.settings import Settings
from phosphene_server.values.image import EncodedImage, ImageEncoding, ImageSize
from phosphene_server.values.maximization import (
    CancelMaximizationRequest,
    ChannelObjective,
    ContactSheetOptions,
    FrameOptions,
    GetMaximizationRequest,
    LayerEvent,
    LayerFailure,
    LayerFrame,
    LayerPicture,
    LayerProgress,
    LayerResult,
    ListMaximizationsRequest,
    Maximization,
    MaximizationFrame,
    MaximizationProgress,
    MaximizationResult,
    MaximizationWarning,
    MaximizeLayerRequest,
    NeuronObjective,
    ResultOptions,
    StopReason,
    WatchLayerRequest,
    WatchMaximizationRequest,
)
from phosphene_server.values.model import Layer, ModelReference, NamedTensor
from phosphene_server.values.work import (
    DescribeModel,
    JobFailed,
    JobFinished,
    JobFramed,
    JobProgressed,
    JobWarned,
    PrepareMaximization,
)
from tests.unit.jobs.front_fakes import FakeWorker, make_root, request

MakeBoard = Callable[..., MaximizationBoard]
CHANNELS = 8
"""Of the layer conv1 of the fake worker's model."""


class PictureWorker(FakeWorker):
    """Draws pictures of 48 x 32 pixels, each in a gray that tells its channel."""

    def finish_channel(self, channel: int, *, job: str = "job-1", stop_reason: StopReason = "steps") -> None:
        self.listener(JobFinished(f"{job}.{channel}", result(channel, stop_reason=stop_reason)))

    def advance(self, channel: int, step: int) -> None:
        self.listener(JobProgressed(f"job-1.{channel}", MaximizationProgress(step, 256)))

    def frame_channel(self, channel: int, step: int) -> None:
        frame = MaximizationFrame(step, (EncodedImage(b"frame", "image/webp"),), (0.5,))
        self.listener(JobFramed(f"job-1.{channel}", frame))

    def fail(self, channel: int) -> None:
        self.listener(JobFailed(f"job-1.{channel}", WorkerLost(f"channel {channel} is poison")))

    @property
    def submitted(self) -> list[int]:
        return [int(job.job_id.partition(".")[2]) for job in self.jobs]


def result(channel: int, *, stop_reason: StopReason = "steps") -> MaximizationResult:
    history = np.zeros((256, 1))
    return MaximizationResult(256, stop_reason, (picture(channel),), (), (float(channel),), history, 1.0)


def picture(channel: int) -> EncodedImage:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (48, 32), (60 + channel, 0, 0)).save(buffer, "PNG")
    return EncodedImage(buffer.getvalue(), "image/png")


def layer_request(**choices: object) -> MaximizeLayerRequest:
    return MaximizeLayerRequest(ModelReference("net"), "conv1", **choices)


@pytest.fixture
async def worker() -> PictureWorker:
    return PictureWorker()


@pytest.fixture
async def make_board(tmp_path: Path, worker: PictureWorker) -> Iterator[MakeBoard]:
    boards = []

    def make(**limits: float) -> MaximizationBoard:
        ids = iter(f"job-{number}" for number in range(1, 1000))
        repository = Repository(make_root(tmp_path / "root"), bundled=tmp_path / "none")
        board = MaximizationBoard(repository, worker, LoadedModels(8), Settings(**limits), new_id=lambda: next(ids))
        worker.listener = board.hear
        boards.append(board)
        return board

    yield make
    for board in boards:
        board.close()


def job(board: MaximizationBoard, job_id: str = "job-1") -> Maximization:
    return board.describe(GetMaximizationRequest(job_id))


async def rest(watch: LayerWatch) -> list[LayerEvent]:
    return [event async for event in watch]


def of_kind(events: list[LayerEvent], kind: str) -> list[LayerEvent]:
    return [event for event in events if event.kind == kind]


def sheet_pixels(result: LayerEvent) -> np.ndarray:
    assert isinstance(result, LayerResult)
    assert result.sheet is not None
    return np.asarray(PIL.Image.open(io.BytesIO(result.sheet.image.data)).convert("RGB"))


# The request


async def test_one_picture_is_prepared_and_the_others_follow_from_it(make_board: MakeBoard, worker) -> None:
    await make_board().start_layer(layer_request(channels=(5, 2), steps=9, priority=3))
    assert [type(task) for task in worker.tasks] == [DescribeModel, PrepareMaximization]
    assert [(job.job_id, job.owner) for job in worker.jobs] == [("job-1.5", "job-1"), ("job-1.2", "job-1")]
    for channel, submitted in zip((5, 2), worker.jobs, strict=True):
        single = replace(request(), model=ModelReference("net", "1", "onnx"), steps=9, priority=3)
        single = replace(single, objective=ChannelObjective("conv1", channel), size=ImageSize(32, 48), seed=7)
        assert submitted.request == replace(single, frames=FrameOptions(every_steps=0))


async def test_every_default_is_told(make_board: MakeBoard) -> None:
    accepted = await anext(await make_board().start_layer(layer_request()))
    assert accepted.pictures == CHANNELS
    assert accepted.settings.channels == tuple(range(CHANNELS))
    assert (accepted.settings.size, accepted.settings.seed) == (ImageSize(32, 48), 7)
    assert accepted.settings.model == ModelReference("net", "1", "onnx")
    assert accepted.settings.sheet == ContactSheetOptions(3, 48, ImageEncoding("png"))


def test_the_neuron_at_the_centre_is_the_other_target() -> None:
    single = picture_request(layer_request(target="neuron", encoding=ImageEncoding("webp")), 3)
    assert single.objective == NeuronObjective("conv1", 3)
    assert single.result == ResultOptions(ImageEncoding("webp"))


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ((0, 7, 8), r"^channels\[2\]: expected a channel of 'conv1', 0 to 7, got 8"),
        ((3, 1, 3), r"^channels\[2\]: expected each once; channels\[0\] is 3, got 3 again"),
        ((0, 1, 2, 3, 4), r"^channels: expected at most 4 channels in one request .*, got 5 channels"),
        ((), r"^channels: expected at most 4 channels in one request .*, got all 8 channels of the layer"),
    ],
)
def test_wrong_channels_are_told_by_field(channels: tuple[int, ...], message: str) -> None:
    layers = (Layer("conv1", "convolution", (CHANNELS, 16, 24), 0),)
    with pytest.raises(InvalidArgument, match=message):
        chosen_channels(layer_request(channels=channels), layers, limit=4)


@pytest.mark.parametrize("target", ["channel", "neuron"])
@pytest.mark.parametrize(
    ("error", "field"),
    [
        (NotFound("layer", "conv1", ("conv2",), "objective.{}.layer"), "layer"),
        (LayerUnusable("conv1", "has no gradient", "objective.{}.layer"), "layer"),
        (InvalidArgument("objective.{}.channel", "7", "a channel, 0 to 3"), "channels[1]"),
        (InvalidArgument("size", "8x8", "a larger size"), "size"),
    ],
)
async def test_what_the_worker_finds_wrong_is_told_by_the_fields_of_the_layer(
    make_board: MakeBoard, worker, target: str, error, field: str
) -> None:
    board = make_board(maximum_jobs=1)
    run = worker.run

    async def refuse(task):
        if isinstance(task, PrepareMaximization):
            raise replace(error, field=error.field.format(target))
        return await run(task)

    worker.run = refuse
    for _ in range(2):  # the place is given back
        with pytest.raises(type(error)) as caught:
            await board.start_layer(layer_request(channels=(2, 7, 1), target=target))
        assert caught.value.field == field
    assert worker.jobs == []


async def test_a_sheet_that_cannot_fit_is_refused_before_anything_is_drawn(make_board: MakeBoard, worker) -> None:
    board = make_board(maximum_message_bytes=2**16)
    many = tuple(range(CHANNELS))
    watch = await board.start_layer(layer_request(channels=many))
    assert (await anext(watch)).settings.sheet.tile_size == 48
    with pytest.raises(InvalidArgument, match=r"^sheet\.columns: expected columns with which 9000 pictures fit"):
        await big_layer(board, worker, 9000)
    assert len(worker.jobs) == len(many)


async def big_layer(board: MaximizationBoard, worker: FakeWorker, channels: int, **choices: object) -> LayerWatch:
    """Start a layer that has so many channels."""
    run = worker.run

    async def describe(task):
        reply = await run(task)
        if isinstance(task, DescribeModel):
            return replace(reply, layers=(Layer("conv1", "convolution", (channels, 1, 1), 0),))
        return reply

    worker.run = describe
    board._settings = replace(board._settings, maximum_layer_channels=channels)
    return await board.start_layer(layer_request(**choices))


LAYER_BYTES = CHANNELS * 32 * 48 * 3


async def test_layers_that_take_too_much_memory_together_are_refused_and_single_jobs_are_not(
    make_board: MakeBoard, worker: PictureWorker
) -> None:
    board = make_board()
    board._settings = replace(board._settings, running_layer_bytes=LAYER_BYTES)
    watch = await board.start_layer(layer_request(channels=(0, 1)))
    with pytest.raises(Overloaded, match=r"1 layers are running or waiting, whose pictures take 9,216 bytes of 36,864"):
        await board.start_layer(layer_request())
    await board.start(request())
    watch.close()
    for channel in (0, 1):
        worker.finish_channel(channel, stop_reason="cancelled")
    await rest(board.watch_layer(WatchLayerRequest("job-1")))
    await board.start_layer(layer_request())


async def test_a_layer_that_takes_too_much_memory_alone_is_told_how_many_channels_fit(make_board: MakeBoard) -> None:
    board = make_board()
    board._settings = replace(board._settings, running_layer_bytes=LAYER_BYTES - 1)
    with pytest.raises(InvalidArgument, match=r"^channels: expected at most 36,863 bytes .*: 7 pictures of this size"):
        await board.start_layer(layer_request())


# Drawing


async def test_a_layer_is_told_from_its_acceptance_to_its_sheet(make_board: MakeBoard, worker: PictureWorker) -> None:
    board = make_board()
    watch = await board.start_layer(layer_request(channels=(4, 1, 6)))
    assert job(board).state == "queued"
    for channel in (1, 6, 4):
        worker.finish_channel(channel)
    events = await rest(watch)
    assert [event.kind for event in events] == ["accepted", *["picture"] * 3, "progress", "result"]
    pictures = of_kind(events, "picture")
    assert [(item.index, item.channel, item.objective) for item in pictures] == [(0, 1, 1.0), (1, 6, 6.0), (2, 4, 4.0)]
    assert pictures[0].image == picture(1)
    progress = of_kind(events, "progress")[0]
    assert (progress.finished, progress.pictures, progress.step, progress.steps) == (3, 3, 768, 768)
    ended = events[-1]
    assert (ended.finished, ended.failed_channels, ended.cancelled) == (3, (), False)
    assert (ended.sheet.channels, ended.sheet.columns, ended.sheet.reduced) == ((4, 1, 6), 2, False)
    assert ended.sheet.tile == ImageSize(32, 48)
    # 3 pixels of margin; the tiles stand in the order of the request.
    assert sheet_pixels(ended)[10, [10, 10 + 48 + 3], 0].tolist() == [64, 61]
    described = job(board)
    assert (described.state, described.settings, described.layer_progress.finished) == ("succeeded", None, 3)


async def test_the_worker_is_given_a_bounded_number_of_pictures(make_board: MakeBoard, worker: PictureWorker) -> None:
    many = OUTSTANDING_PICTURES + 5
    watch = await big_layer(make_board(), worker, many)
    assert worker.submitted == list(range(OUTSTANDING_PICTURES))
    worker.finish_channel(3)
    worker.fail(5)
    assert worker.submitted == list(range(OUTSTANDING_PICTURES + 2))
    for channel in range(many):
        if channel not in (3, 5):
            worker.finish_channel(channel)
    assert sorted(worker.submitted) == list(range(many))
    assert (await rest(watch))[-1].finished == many - 1


async def test_a_sheet_with_too_many_pixels_has_smaller_pictures_and_says_so(make_board: MakeBoard, worker) -> None:
    watch = await make_board(maximum_message_bytes=2**16).start_layer(layer_request())
    for channel in range(CHANNELS):
        worker.finish_channel(channel)
    sheet = (await rest(watch))[-1].sheet
    assert sheet.reduced
    assert sheet.tile.width < 48
    picture = PIL.Image.open(io.BytesIO(sheet.image.data))
    assert picture.width * picture.height <= 2**16 // 4


async def test_a_channel_that_fails_takes_no_other_with_it(make_board: MakeBoard, worker: PictureWorker) -> None:
    watch = await make_board().start_layer(layer_request(channels=(0, 1, 2)))
    worker.finish_channel(0)
    worker.fail(1)
    worker.finish_channel(2)
    events = await rest(watch)
    (failure,) = of_kind(events, "failure")
    assert (failure.channel, failure.reason) == (1, "WORKER_LOST")
    assert failure.message == "the worker process was lost: channel 1 is poison"
    assert (events[-1].finished, events[-1].failed_channels, events[-1].cancelled) == (2, (1,), False)
    assert events[-1].sheet.channels == (0, 2)


async def test_a_layer_all_of_whose_channels_fail_ends_with_the_first_error(make_board: MakeBoard, worker) -> None:
    board = make_board()
    watch = await board.start_layer(layer_request(channels=(1, 0)))
    worker.fail(0)
    worker.fail(1)
    with pytest.raises(WorkerLost, match="channel 0 is poison"):
        await rest(watch)
    assert job(board).state == "failed"


def test_reasons_are_those_of_the_statuses() -> None:
    for kind, (_, reason) in STATUSES.items():
        assert reason_of(kind.__new__(kind)) == reason


async def test_frames_and_warnings_are_told_with_their_channel(make_board: MakeBoard, worker: PictureWorker) -> None:
    watch = await make_board().start_layer(layer_request(channels=(0, 1), frames=FrameOptions(every_steps=1)))
    for step in (1, 2):
        worker.frame_channel(0, step)
        worker.frame_channel(1, step)
    worker.listener(JobWarned("job-1.1", MaximizationWarning(2, "NO_GRADIENT", "nothing moves")))
    events = [await anext(watch) for _ in range(5)]
    frames = of_kind(events, "frame")
    assert [(event.channel, event.step, event.dropped) for event in frames] == [(0, 2, 2), (1, 2, 2)]
    assert (events[4].channel, events[4].reason) == (1, "NO_GRADIENT")


async def test_a_layer_that_waits_tells_the_place_of_its_first_picture(make_board: MakeBoard, worker) -> None:
    board = make_board()
    await board.start_layer(layer_request(channels=(0, 1)))
    positions = []
    for step, position in ((0, 3), (0, 1), (0, 0), (5, 0)):
        progress = MaximizationProgress(step, 256, queue_position=position)
        worker.listener(JobProgressed("job-1.0", progress))
        positions.append((job(board).state, job(board).layer_progress.queue_position))
    assert positions == [("queued", 3), ("queued", 1), ("running", 0), ("running", 0)]


async def test_progress_counts_the_steps_of_all_pictures_and_the_time_left(make_board: MakeBoard, worker) -> None:
    board = make_board(progress_seconds=0.001)
    await board.start_layer(layer_request(channels=(0, 1, 2)))
    for step in range(1, 65):
        worker.advance(0, step)
        worker.advance(1, step)
        await asyncio.sleep(0.001)
    progress = job(board).layer_progress
    assert (progress.finished, progress.pictures, progress.steps) == (0, 3, 3 * 256)
    assert 100 <= progress.step <= 128
    assert progress.pictures_per_minute > 0
    speed = progress.pictures_per_minute / 60 * 256
    assert progress.remaining == pytest.approx((progress.steps - progress.step) / speed)


# Watchers


async def test_a_late_watcher_gets_every_picture_and_failure(make_board: MakeBoard, worker: PictureWorker) -> None:
    board = make_board()
    first = await board.start_layer(layer_request(channels=(0, 1, 2, 3), linger=60))
    worker.finish_channel(2)
    worker.fail(3)
    first.close()
    late = board.watch_layer(WatchLayerRequest("job-1"))
    knowing = board.watch_layer(WatchLayerRequest("job-1", from_picture=2))
    worker.finish_channel(0)
    worker.finish_channel(1)
    events = await rest(late)
    assert [event.channel for event in of_kind(events, "picture")] == [2, 0, 1]
    assert [event.channel for event in of_kind(events, "failure")] == [3]
    assert [event.channel for event in of_kind(await rest(knowing), "picture")] == [1]
    after = await rest(board.watch_layer(WatchLayerRequest("job-1")))
    assert [event.kind for event in after] == ["accepted", *["picture"] * 3, "failure", "result"]
    assert worker.cancelled == []


async def test_a_layer_ends_when_its_last_watcher_leaves(make_board: MakeBoard, worker: PictureWorker) -> None:
    board = make_board()
    watch = await board.start_layer(layer_request(channels=(0, 1)))
    worker.finish_channel(0)
    watch.close()
    assert worker.cancelled == ["job-1.1"]
    worker.finish_channel(1, stop_reason="cancelled")
    (result,) = of_kind(await rest(board.watch_layer(WatchLayerRequest("job-1"))), "result")
    assert (result.finished, result.cancelled) == (1, True)


async def test_cancelling_keeps_the_finished_pictures_and_starts_no_more(make_board: MakeBoard, worker) -> None:
    board = make_board()
    watch = await big_layer(board, worker, OUTSTANDING_PICTURES + 5)
    worker.finish_channel(7)
    assert board.cancel(CancelMaximizationRequest("job-1"))
    assert len(worker.cancelled) == OUTSTANDING_PICTURES
    for channel in range(OUTSTANDING_PICTURES + 1):
        if channel != 7:
            worker.finish_channel(channel, stop_reason="cancelled")
    events = await rest(watch)
    assert [event.channel for event in of_kind(events, "picture")] == [7]
    assert (events[-1].cancelled, events[-1].sheet.channels) == (True, (7,))
    assert job(board).state == "cancelled"
    assert not board.cancel(CancelMaximizationRequest("job-1"))
    assert len(worker.jobs) == OUTSTANDING_PICTURES + 1


async def test_a_layer_that_is_cancelled_before_any_picture_has_no_sheet(make_board: MakeBoard, worker) -> None:
    board = make_board()
    watch = await board.start_layer(layer_request(channels=(3,)))
    board.cancel(CancelMaximizationRequest("job-1"))
    worker.finish_channel(3, stop_reason="cancelled")
    assert (await rest(watch))[-1] == LayerResult(0, (), True, None, 0.0)


async def test_a_layer_that_is_cancelled_when_all_its_channels_have_failed_has_failed(make_board, worker) -> None:
    board = make_board()
    watch = await board.start_layer(layer_request(channels=(3,)))
    worker.fail(3)
    board.cancel(CancelMaximizationRequest("job-1"))
    with pytest.raises(WorkerLost):
        await rest(watch)
    assert job(board).state == "failed"


async def test_a_cancellation_that_comes_while_the_sheet_is_drawn_changes_nothing(make_board, worker) -> None:
    board = make_board()
    watch = await board.start_layer(layer_request(channels=(3,)))
    worker.finish_channel(3)
    await asyncio.sleep(0)
    assert board.cancel(CancelMaximizationRequest("job-1"))
    ended = (await rest(watch))[-1]
    assert (ended.cancelled, ended.finished, ended.sheet.channels) == (False, 1, (3,))
    assert job(board).state == "succeeded"


async def test_a_picture_of_which_nothing_was_told_before_has_taken_no_time(make_board, worker) -> None:
    board = make_board()
    watch = await board.start_layer(layer_request(channels=(2, 3)))
    worker.finish_channel(3)
    assert job(board).state == "running"
    worker.finish_channel(2)
    assert (await rest(watch))[-1].duration < 60


async def test_a_slow_watcher_keeps_one_progress_and_one_frame_of_each_channel() -> None:
    pictures: list[LayerPicture] = []
    watch = LayerWatch(lambda _: None, pictures, from_picture=0)
    for step in range(1, 100):
        for channel in range(3):
            watch.push(LayerFrame(channel, step, EncodedImage(b"", "image/webp"), 0.0))
            watch.push(LayerProgress(0, 0, 3, step, 256))
    watch.end()
    events = await rest(watch)
    frames = of_kind(events, "frame")
    assert [(event.channel, event.step, event.dropped) for event in frames] == [(c, 99, 3 * 98) for c in range(3)]
    assert [event.step for event in of_kind(events, "progress")] == [99]


async def test_the_end_of_a_channel_takes_the_place_of_its_frame() -> None:
    pictures: list[LayerPicture] = []
    watch = LayerWatch(lambda _: None, pictures, from_picture=0)
    frame = EncodedImage(b"", "image/webp")
    for channel in range(3):
        watch.push(LayerFrame(channel, 16, frame, 0.0))
    pictures.append(LayerPicture(0, 0, frame, 0.5, 256, "steps"))
    watch.push(pictures[0])
    watch.push(LayerFailure(1, "INTERNAL_ERROR", "no picture"))
    watch.end()
    events = await rest(watch)
    assert [(event.kind, event.channel) for event in events] == [("picture", 0), ("frame", 2), ("failure", 1)]
    assert events[1].dropped == 2


# By id, and forgetting


async def test_layers_and_single_jobs_are_listed_together_and_watched_apart(make_board: MakeBoard) -> None:
    board = make_board()
    fixed = (NamedTensor("mask", np.ones(3)),)
    await board.start_layer(layer_request(fixed_inputs=fixed))
    await board.start(request())
    single, layer = board.list(ListMaximizationsRequest()).maximizations
    assert (single.maximization_id, single.layer_settings, single.settings.steps) == ("job-2", None, 256)
    assert (layer.maximization_id, layer.settings, layer.layer_settings.layer) == ("job-1", None, "conv1")
    assert layer.layer_settings.fixed_inputs == ()
    assert job(board).layer_settings.fixed_inputs == fixed
    with pytest.raises(NotFound, match="no maximization of one objective is named 'job-1'"):
        board.watch(WatchMaximizationRequest("job-1"))
    with pytest.raises(NotFound, match="no maximization of a layer is named 'job-2'"):
        board.watch_layer(WatchLayerRequest("job-2"))


async def test_layers_whose_pictures_are_too_large_together_are_forgotten_first(make_board: MakeBoard, worker) -> None:
    board = make_board(finished_layer_bytes=len(picture(0).data) * 2)
    single = await board.start(request())
    worker.finish(job_id="job-1")
    for number in (2, 3, 4):
        watch = await board.start_layer(layer_request(channels=(0,)))
        worker.finish_channel(0, job=f"job-{number}")
        await rest(watch)
    single.close()
    kept = [item.maximization_id for item in board.list(ListMaximizationsRequest()).maximizations]
    assert kept == ["job-4", "job-3", "job-1"]

"""A Phosphene server with scripted answers, for tests of the client."""

import asyncio
import io

import grpc
import numpy as np
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from PIL import Image

from phosphene.v1 import (
    filter_pb2,
    filter_pb2_grpc,
    image_pb2,
    kernel_pb2,
    maximization_pb2,
    maximization_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    tensor_pb2,
)

FRAME_STEPS = (16, 32, 48)


def png(colour: tuple[int, int, int], *, size: tuple[int, int] = (6, 4)) -> bytes:
    """A PNG of one colour; the size is (width, height)."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def picture(colour: tuple[int, int, int]) -> image_pb2.EncodedImage:
    return image_pb2.EncodedImage(data=png(colour), media_type="image/png")


def tensor(values: np.ndarray) -> tensor_pb2.Tensor:
    data_type = tensor_pb2.DataType.Value(f"DATA_TYPE_{values.dtype.name.upper()}")
    return tensor_pb2.Tensor(data_type=data_type, shape=values.shape, data=values.tobytes())


def array(message: tensor_pb2.Tensor) -> np.ndarray:
    name = tensor_pb2.DataType.Name(message.data_type).removeprefix("DATA_TYPE_").lower()
    return np.frombuffer(message.data, name).reshape(message.shape)


def layer_event(**kind) -> maximization_pb2.LayerEvent:
    return maximization_pb2.LayerEvent(**kind)


def layer_progress(finished: int, pictures: int, *, queue_position: int = 0) -> maximization_pb2.LayerProgress:
    return maximization_pb2.LayerProgress(
        finished=finished,
        pictures=pictures,
        step=64 * finished,
        steps=64 * pictures,
        pictures_per_minute=90,
        remaining=Duration(seconds=61),
        queue_position=queue_position,
    )


def rich_status(code: int, message: str, *details) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata of a google.rpc.Status."""
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return (("grpc-status-details-bin", status.SerializeToString()),)


class Models(model_pb2_grpc.ModelServiceServicer):
    def __init__(self) -> None:
        self.failures_before_answer = 0

    async def ListModels(self, request, context):  # noqa: N802
        if self.failures_before_answer:
            self.failures_before_answer -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "starting")
        if not request.page_token:
            summary = model_pb2.ModelSummary(
                name="tiny", version="2", formats=[1, 3], description="Small.", loaded=True
            )
            return model_pb2.ListModelsResponse(models=[summary], next_page_token="more")
        return model_pb2.ListModelsResponse(models=[model_pb2.ModelSummary(name="tiny", version="1", formats=[2])])

    async def GetModel(self, request, context):  # noqa: N802
        if request.model.name != "tiny":
            await self._not_found(request.model.name, context)
        layers = [
            model_pb2.Layer(
                name="conv1",
                kind="convolution",
                shape=[8, 16, 16],
                parameter_count=224,
                filter_shape=[8, 3, 3, 3],
                receptive_field=model_pb2.ReceptiveField(
                    height=3,
                    width=3,
                    grid=model_pb2.PixelGrid(row_stride=1, column_stride=2, row_offset=0, column_offset=0.5),
                ),
                multiply_accumulates=55296,
                gradient_reaches_input=True,
            ),
            model_pb2.Layer(name="fc", kind="linear", shape=[2], parameter_count=18, filter_shape=[2, 8]),
        ]
        preprocessing = model_pb2.Preprocessing(
            channel_order=1,
            low=0,
            high=1,
            mean=[0.5] * 3,
            std=[0.25] * 3,
            size=image_pb2.ImageSize(height=16, width=16),
        )
        parity = model_pb2.Parity(
            runtime="onnxruntime 1", largest_deviation=1e-6, output_scale=3, input_shape=[1, 3, 16, 16]
        )
        inputs = [model_pb2.TensorSpecification(name="image", data_type=1, shape=[-1, 3, 16, 16])]
        return model_pb2.GetModelResponse(
            model=model_pb2.Model(
                reference=request.model,
                labels=["star", "ring"],
                logits_layer="fc",
                layers=layers,
                preprocessing=preprocessing,
                parity=parity,
                inputs=inputs,
                parameter_count=242,
                multiply_accumulates=1_234_567,
                description="Small.",
            )
        )

    async def _not_found(self, name, context):
        message = f"model: no model is named {name!r}; did you mean 'tiny'?"
        info = error_details_pb2.ErrorInfo(
            reason="NOT_FOUND",
            metadata={"kind": "model", "name": name, "nearest": "tiny, teeny", "field": "model.name"},
        )
        context.set_trailing_metadata(rich_status(code_pb2.NOT_FOUND, message, info))
        await context.abort(grpc.StatusCode.NOT_FOUND, message)


class Filters(filter_pb2_grpc.FilterServiceServicer):
    def __init__(self) -> None:
        self.requests = []

    async def ExtractFilters(self, request, context):  # noqa: N802
        self.requests.append(request)
        weights = np.arange(2 * 3 * 3 * 3, dtype=np.float32).reshape(2, 3, 3, 3)
        statistics = [filter_pb2.FilterStatistics(index=i, norm=i + 1.0, dead=i == 1) for i in range(2)]
        figure = filter_pb2.FilterFigure(
            image=picture((1, 2, 3)), caption="conv1: shown 2 of 2", shown=2, total=2, low=-1.0, high=1.0
        )
        return filter_pb2.ExtractFiltersResponse(
            weights=tensor(weights),
            bias=tensor(np.array([0.5, -0.5], np.float32)),
            filters=[0, 1],
            groups=1,
            statistics=statistics,
            figure=figure,
        )

    async def ApplyKernel(self, request, context):  # noqa: N802
        self.requests.append(request)
        responses = [
            kernel_pb2.KernelResponse(
                values=tensor(np.full((1, 4, 6), index, np.float32)),
                picture=picture((index, 0, 0)),
                overlay=picture((0, index, 0)),
                scale=index + 0.5,
            )
            for index in range(len(request.images))
        ]
        kernels = tensor(np.ones((1, 1, 3, 3), np.float32))
        return kernel_pb2.ApplyKernelResponse(responses=responses, kernels=kernels)


class Maximizations(maximization_pb2_grpc.MaximizationServiceServicer):
    def __init__(self) -> None:
        self.requests = []
        self.cancelled = []
        self.closed = asyncio.Event()
        self.hang_after_frames = False
        self.fail_after_frames = False
        self.hang_before_channel = None
        self.listed_layer = False

    async def MaximizeActivation(self, request, context):  # noqa: N802
        self.requests.append(request)
        await self._check(request, context)
        try:
            yield self._accepted(request)
            async for event in self._events(request, context):
                yield maximization_pb2.MaximizeActivationResponse(event=event)
        finally:
            self.closed.set()

    async def WatchMaximization(self, request, context):  # noqa: N802
        self.requests.append(request)
        accepted = self._accepted(maximization_pb2.MaximizeActivationRequest(steps=64)).event
        yield maximization_pb2.WatchMaximizationResponse(event=accepted)
        async for event in self._events(maximization_pb2.MaximizeActivationRequest(steps=64), context):
            yield maximization_pb2.WatchMaximizationResponse(event=event)

    async def MaximizeLayer(self, request, context):  # noqa: N802
        self.requests.append(request)
        accepted = self._accepted_layer(request)
        yield maximization_pb2.MaximizeLayerResponse(event={"accepted": accepted})
        try:
            async for event in self._layer_events(accepted.settings, context):
                yield maximization_pb2.MaximizeLayerResponse(event=event)
        finally:
            self.closed.set()

    async def WatchLayer(self, request, context):  # noqa: N802
        self.requests.append(request)
        accepted = self._accepted_layer(maximization_pb2.MaximizeLayerRequest(layer="conv1"))
        yield maximization_pb2.WatchLayerResponse(event={"accepted": accepted})
        async for event in self._layer_events(accepted.settings, context):
            if not event.HasField("picture") or event.picture.index >= request.from_picture:
                yield maximization_pb2.WatchLayerResponse(event=event)

    async def GetMaximization(self, request, context):  # noqa: N802
        return maximization_pb2.GetMaximizationResponse(maximization=self._job(request.maximization_id))

    async def ListMaximizations(self, request, context):  # noqa: N802
        if not request.page_token:
            return maximization_pb2.ListMaximizationsResponse(maximizations=[self._job("b")], next_page_token="x")
        jobs = [self._job("a"), *([self._layer_job()] if self.listed_layer else [])]
        return maximization_pb2.ListMaximizationsResponse(maximizations=jobs)

    async def CancelMaximization(self, request, context):  # noqa: N802
        self.cancelled.append(request.maximization_id)
        return maximization_pb2.CancelMaximizationResponse(cancelled=True)

    def _accepted_layer(self, request):
        settings = maximization_pb2.MaximizeLayerRequest()
        settings.CopyFrom(request)
        if not settings.channels:
            settings.channels.extend(range(8))
        if not settings.HasField("seed"):
            settings.seed = 7
        return maximization_pb2.LayerAccepted(
            maximization_id="layer-1", settings=settings, pictures=len(settings.channels)
        )

    async def _layer_events(self, settings, context):
        """The last channel comes first; channel 5, if it is asked for, fails."""
        channels = list(settings.channels)
        finished = 0
        for channel in reversed(channels):
            if channel == 5:
                yield layer_event(failure={"channel": 5, "reason": "OVERLOADED", "message": "the memory is full"})
                continue
            if channel == self.hang_before_channel:
                await asyncio.sleep(60)
            if settings.frames.every_steps:
                frame = {"channel": channel, "step": 16, "image": picture((16, 0, channel)), "objective": 1.5}
                yield layer_event(frame=frame)
            done = {"index": finished, "channel": channel, "image": picture((200, 100, channel)), "stop_reason": 1}
            yield layer_event(picture={**done, "objective": channel + 0.5, "step": 64})
            finished += 1
            yield layer_event(progress=layer_progress(finished, len(channels)))
        yield layer_event(
            warning={"channel": channels[0], "step": 3, "reason": "NO_GRADIENT", "message": "Nothing moves."}
        )
        if self.fail_after_frames:
            await self._overloaded(context)
        good = [channel for channel in channels if channel != 5]
        sheet = {"image": picture((1, 2, 3)), "channels": good, "columns": 3, "tile": {"height": 4, "width": 6}}
        failed = [channel for channel in channels if channel == 5]
        yield layer_event(
            result={
                "finished": finished, "failed_channels": failed, "sheet": sheet if good else None,
                "duration": Duration(seconds=2),
            }
        )  # fmt: skip

    def _job(self, job_id):
        settings = maximization_pb2.MaximizeActivationRequest(
            model=model_pb2.ModelReference(name="tiny"),
            objective=maximization_pb2.Objective(layer=maximization_pb2.LayerObjective(layer="conv1")),
        )
        progress = maximization_pb2.MaximizationProgress(step=3, steps=8, objective=[1.5])
        return maximization_pb2.Maximization(maximization_id=job_id, state=2, settings=settings, progress=progress)

    def _layer_job(self):
        return maximization_pb2.Maximization(
            maximization_id="layer-1",
            state=2,
            layer_settings=self._accepted_layer(maximization_pb2.MaximizeLayerRequest(layer="conv1")).settings,
            layer_progress=layer_progress(3, 8),
        )

    async def _check(self, request, context):
        if request.steps <= 100_000:
            return
        violation = error_details_pb2.BadRequest.FieldViolation(
            field="steps", description=f"expected a whole number from 1 to 100000, got {request.steps}"
        )
        message = f"steps: {violation.description}"
        info = error_details_pb2.ErrorInfo(reason="INVALID_ARGUMENT")
        details = (info, error_details_pb2.BadRequest(field_violations=[violation]))
        context.set_trailing_metadata(rich_status(code_pb2.INVALID_ARGUMENT, message, *details))
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)

    def _accepted(self, request):
        settings = maximization_pb2.MaximizeActivationRequest()
        settings.CopyFrom(request)
        if not settings.HasField("objective"):
            settings.objective.layer.layer = "conv1"
        if not settings.HasField("seed"):
            settings.seed = 7
        accepted = maximization_pb2.MaximizationAccepted(maximization_id="job-1", settings=settings)
        return maximization_pb2.MaximizeActivationResponse(event=maximization_pb2.MaximizationEvent(accepted=accepted))

    async def _events(self, request, context):
        count = request.pictures or 1
        for step in FRAME_STEPS:
            yield maximization_pb2.MaximizationEvent(
                progress=maximization_pb2.MaximizationProgress(
                    step=step,
                    steps=64,
                    objective=[float(step)] * count,
                    steps_per_second=100,
                    remaining=Duration(seconds=1),
                )
            )
            frame = maximization_pb2.MaximizationFrame(
                step=step, images=[picture((step, 0, index)) for index in range(count)], objective=[float(step)] * count
            )
            yield maximization_pb2.MaximizationEvent(frame=frame)
        if self.hang_after_frames:
            await asyncio.sleep(60)
        if self.fail_after_frames:
            await self._overloaded(context)
        warning = maximization_pb2.MaximizationWarning(step=48, reason="NO_GRADIENT", message="Nothing moves.")
        yield maximization_pb2.MaximizationEvent(warning=warning)
        yield maximization_pb2.MaximizationEvent(result=self._result(request, count))

    async def _overloaded(self, context):
        info = error_details_pb2.ErrorInfo(reason="WORKER_LOST")
        retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000))
        context.set_trailing_metadata(rich_status(code_pb2.UNAVAILABLE, "the worker is gone", info, retry))
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the worker is gone")

    def _result(self, request, count):
        tensors = [tensor(np.zeros((3, 4, 6), np.float32)) for _ in range(count)] if request.result.tensors else []
        return maximization_pb2.MaximizationResult(
            step=64,
            stop_reason=1,
            images=[picture((200, 100, index)) for index in range(count)],
            tensors=tensors,
            objective=[12.5] * count,
            history=tensor(np.arange(64 * count, dtype=np.float64).reshape(64, count)),
            duration=Duration(seconds=2),
        )


class FakeService:
    """The three services and the address where they listen."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.models = Models()
        self.filters = Filters()
        self.maximizations = Maximizations()

    async def start(self) -> None:
        self._server = grpc.aio.server()
        model_pb2_grpc.add_ModelServiceServicer_to_server(self.models, self._server)
        filter_pb2_grpc.add_FilterServiceServicer_to_server(self.filters, self._server)
        maximization_pb2_grpc.add_MaximizationServiceServicer_to_server(self.maximizations, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

"""The asynchronous client; `phosphene.Client` is a thin blocking face over it.

    async with phosphene.aio.launch() as client:
        run = await client.maximize("shapes", objectives.class_logit("star"), steps=256)
        async for frame in run:
            frame.image.save(f"{frame.step}.png")
        result = await run.result()

A client belongs to the event loop in which it was made.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from weakref import WeakSet

import grpc
from numpy.typing import ArrayLike

from phosphene._layer_run import LayerRun
from phosphene._run import Run
from phosphene._stream import Stream
from phosphene._wire.building import build, invalid
from phosphene._wire.channel import open_channel
from phosphene._wire.filters import decode_filters, encode_filters_request
from phosphene._wire.kernels import decode_responses, encode_kernel_request
from phosphene._wire.layers import encode_layer_settings
from phosphene._wire.maximizations import decode_maximization, encode_settings
from phosphene._wire.models import decode_model, decode_summary, encode_reference
from phosphene._wire.statuses import decode_error
from phosphene._wire.tensors import as_arrays
from phosphene.embedded import EmbeddedServer
from phosphene.errors import PhospheneError, Unavailable
from phosphene.filters import FigureNormalization, Filters
from phosphene.jobs import Maximization
from phosphene.kernels import ChannelMode, Kernel, KernelResponses, PaddingMode, Picture
from phosphene.layers import LayerSettings, LayerTarget, PictureFormat
from phosphene.maximizations import FrameFormat, MaximizationSettings, Precision
from phosphene.models import Model, ModelReference, ModelSummary
from phosphene.objectives import Objective
from phosphene.optimizers import Adam, Optimizer
from phosphene.parameterizations import Parameterization
from phosphene.penalties import Penalty
from phosphene.stop_rules import StopRule
from phosphene.transforms import Transform
from phosphene.v1 import filter_pb2_grpc, maximization_pb2, maximization_pb2_grpc, model_pb2, model_pb2_grpc

__all__ = ["Client", "LayerRun", "Run", "connect", "launch"]

Response = TypeVar("Response")
AnyRun = TypeVar("AnyRun", Run, LayerRun)
DEFAULT_TIMEOUT_SECONDS = 300.0
"""How long a call may take; loading a large model for the first time is the longest of them."""


def connect(address: str, *, timeout: float | None = DEFAULT_TIMEOUT_SECONDS) -> "Client":
    """A client of the server at an address; it connects at the first call.

    Args:
        address: `host:port` or `unix:PATH`.
        timeout: Seconds that each call may take, except the streams of maximizations. None: for ever.
    """
    return Client(address, timeout=timeout)


@asynccontextmanager
async def launch(
    model_repository: str | Path | None = None, *, start_timeout: float = 120.0, **settings: str | int | float | bool
) -> AsyncIterator["Client"]:
    """Start a server of one's own on this machine, and end it with the context.

    Args:
        model_repository: Folder of models, `NAME/VERSION/model.{onnx,pt,pt2}`. None: only the bundled model.
        start_timeout: Seconds until the server must be ready.
        settings: Further settings of the server, for example `device="cpu"`; `phosphene serve --help` explains them.

    Raises:
        LaunchFailed: the server could not be started; the message tells what it wrote.
    """
    server = EmbeddedServer(model_repository, start_timeout=start_timeout, **settings)
    try:
        await asyncio.to_thread(server.start)
        async with Client(server.address, server=server) as client:
            yield client
    finally:
        await asyncio.to_thread(server.stop)


class Client:
    """Speaks with one server. Made by `connect` and `launch`; close it, or use it as a context manager."""

    def __init__(
        self,
        address: str,
        *,
        timeout: float | None = DEFAULT_TIMEOUT_SECONDS,
        server: EmbeddedServer | None = None,
    ) -> None:
        self.address = address
        self._server = server
        self._timeout = timeout
        self._closed = False
        self._channel = open_channel(address)
        self._streams: WeakSet[Stream] = WeakSet()
        self._models = model_pb2_grpc.ModelServiceStub(self._channel)
        self._filters = filter_pb2_grpc.FilterServiceStub(self._channel)
        self._maximizations = maximization_pb2_grpc.MaximizationServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection, and with it the maximizations that are still streamed."""
        self._closed = True
        # Before 1.83, grpcio closes a channel without ending the streams that nobody reads at that moment.
        for stream in list(self._streams):
            stream.cancel()
        await self._channel.close()

    async def models(self) -> tuple[ModelSummary, ...]:
        """List the models, by name, then by version with the newest first; nothing is loaded."""
        summaries: list[ModelSummary] = []
        token = ""
        while True:
            request = model_pb2.ListModelsRequest(page_token=token)
            page = await self._answer(self._models.ListModels(request, timeout=self._timeout))
            summaries += [decode_summary(item) for item in page.models]
            token = page.next_page_token
            if not token:
                return tuple(summaries)

    async def model(self, model: str | ModelReference) -> Model:
        """Describe a model: its input, its labels and the table of its layers. Loads it if it is not loaded yet.

        Raises:
            NotFound: there is no such model; the error has the nearest names.
            ModelUnusable: it cannot be imported.
        """
        request = model_pb2.GetModelRequest(model=encode_reference(model))
        response = await self._answer(self._models.GetModel(request, timeout=self._timeout))
        return decode_model(response.model)

    async def extract_filters(
        self,
        model: str | ModelReference,
        layer: str,
        *,
        filters: Sequence[int] = (),
        normalization: FigureNormalization | None = None,
        enlargement: int | None = None,
        tile_limit: int | None = None,
    ) -> Filters:
        """Read the weights of a convolution or linear layer, and draw them.

        Args:
            model: The model, or its name.
            layer: The name of the layer, as `model(...).layers` has it.
            filters: Indices of the filters, 0-based, in the order in which they are wanted. Empty: all.
            normalization: How weights become brightness: `layer` compares filters (default), `filter` shows faint ones,
                `symmetric` puts zero at middle gray.
            enlargement: The side of one weight in pixels, 1 to 64. None: so that the figure is about 800 pixels wide.
            tile_limit: The most tiles that are drawn, 1 to 16384. None: 1024.

        Returns:
            Exact weights (filter, channel, height, width), bias, statistics and the figure.

        Raises:
            NotFound: there is no such model or layer; the error has the nearest names.
            LayerUnusable: the layer has no filters.
        """
        request = encode_filters_request(
            model,
            layer,
            filters=filters,
            normalization=normalization,
            enlargement=enlargement,
            tile_limit=tile_limit,
        )
        return decode_filters(await self._answer(self._filters.ExtractFilters(request, timeout=self._timeout)))

    async def apply_kernel(
        self,
        image: Picture | Iterable[Picture],
        kernel: Kernel,
        *,
        channels: ChannelMode | None = None,
        flip: bool = False,
        stride: int | tuple[int, int] | None = None,
        dilation: int | tuple[int, int] | None = None,
        padding: PaddingMode | None = None,
        scale: float | None = None,
        overlay: bool | None = None,
        overlay_opacity: float | None = None,
    ) -> KernelResponses:
        """Slide a kernel over one image or several, and see where it answers.

        Args:
            image: A Pillow image, an array, the bytes or the path of a PNG, JPEG or WebP file; or several of these. An
                array is (height, width), (channel, height, width), (height, width, 3), or these with a batch axis in
                front; floating-point values are in [0, 1], uint8 in 0 to 255.
            kernel: A name such as `laplacian`; values (height, width) or (filter, channel, height, width); or
                `layer_kernel("shapes", "conv1", filters=[3])`.
            channels: What a two-dimensional kernel slides over: `gray`, the luma (default), or `per_channel`.
            flip: Turn the kernel by 180 degrees: convolution, instead of the cross-correlation of networks.
            stride: Pixels between two positions of the kernel, for both axes or (rows, columns). None: 1.
            dilation: Pixels between two taps of the kernel, for both axes or (rows, columns). None: 1.
            padding: What stands beyond the border: `reflect` (default), `zeros`, `replicate`, `circular`; or `valid`.
            scale: The absolute response that gets the full colour. None: the largest one of each image.
            overlay: Also lay the response over the input. None: yes.
            overlay_opacity: The weight of a response of size `scale` in the overlay, 0 to 1. None: 0.9.

        Returns:
            The responses; with one image, `values`, `picture`, `overlay` and `scale` are at hand directly.
        """
        request = encode_kernel_request(
            image,
            kernel,
            channels=channels,
            flip=flip,
            stride=stride,
            dilation=dilation,
            padding=padding,
            scale=scale,
            overlay=overlay,
            overlay_opacity=overlay_opacity,
        )
        return decode_responses(await self._answer(self._filters.ApplyKernel(request, timeout=self._timeout)))

    async def maximize(
        self,
        model: str | ModelReference,
        objective: Objective,
        *,
        steps: int | None = None,
        size: tuple[int, int] | None = None,
        pictures: int | None = None,
        seed: int | None = None,
        parameterization: Parameterization | None = None,
        transforms: Sequence[Transform] | None = None,
        penalties: Sequence[Penalty] = (),
        optimizer: Optimizer | None = None,
        learning_rate: float | None = None,
        stop_rules: Sequence[StopRule] = (),
        frame_every: int | None = None,
        frame_interval: float | None = None,
        frame_format: FrameFormat | None = None,
        frame_quality: int | None = None,
        tensors: bool | None = None,
        linger: float | None = None,
        fixed_inputs: Mapping[str, ArrayLike] | None = None,
        priority: int | None = None,
        precision: Precision | None = None,
        timeout: float | None = None,
    ) -> Run:
        """Find the picture that most excites a part of a network; returns when the server has accepted the job.

        What is None is left to the server, which has a good default; `run.settings` tells what was chosen.

        Args:
            model: The model, or its name.
            objective: What is maximized, for example `objectives.class_logit("star")`.
            steps: The number of steps, 1 to 100000. Default: 256.
            size: (height, width) in pixels, 8 to 4096 a side. Default: that of the model.
            pictures: How many, each from its own random start, 1 to 64. Default: 1.
            seed: What the random numbers are drawn from. The same request with the same seed gives the same bytes on
                the same machine. Default: the server chooses one.
            parameterization: How a picture is made of numbers. Default: `parameterizations.fourier()`.
            transforms: The random changes of each step. None: the default set; empty: none.
            penalties: What is subtracted from the objective.
            optimizer: How the numbers are moved. Default: `optimizers.adam()`.
            learning_rate: Short for `optimizer=optimizers.adam(learning_rate=...)`.
            stop_rules: Reasons to stop before the last step.
            frame_every: An intermediate picture every so many steps; 0: none. Default: 16.
            frame_interval: Instead, at most one intermediate picture in so many seconds.
            frame_format: How frames are compressed: `png`, `jpeg` or `webp`. Default: `webp`.
            frame_quality: The quality of JPEG and WebP frames, 1 to 100. Default: 90.
            tensors: Add the final pictures as float32 to the result. Default: False.
            linger: Seconds that the job goes on when nobody watches it. Default: it ends at once.
            fixed_inputs: What the inputs of the model that are no picture get, by name: a number, or an array of the
                input's shape, for all pictures or with one entry for each. Default: what the model's manifest says.
            priority: The weight of this job's share of the device, 1 to the server's limit. Default: 1.
            precision: How exactly the network is computed: `float32`, or `bfloat16`, which is faster where the device
                multiplies it natively and leaves the gradient off by some percent. Default: `float32`.
            timeout: Seconds after which the job is ended. None: never.

        Raises:
            InvalidArgument: a field is wrong; the error names it.
            NotFound: there is no such model, layer or class; the error has the nearest names.
            Overloaded: too many jobs run.
        """
        settings = MaximizationSettings(
            model=model if isinstance(model, ModelReference) else ModelReference(model),
            objective=objective,
            steps=steps,
            size=size,
            pictures=pictures,
            seed=seed,
            parameterization=parameterization,
            transforms=None if transforms is None else tuple(transforms),
            penalties=tuple(penalties),
            optimizer=_optimizer(optimizer, learning_rate),
            stop_rules=tuple(stop_rules),
            frame_every=frame_every,
            frame_interval=frame_interval,
            frame_format=frame_format,
            frame_quality=frame_quality,
            tensors=tensors,
            linger=linger,
            fixed_inputs=as_arrays(fixed_inputs or {}),
            priority=priority,
            precision=precision,
        )
        request = encode_settings(settings)
        self._require_open()
        return await self._follow(Run, self._maximizations.MaximizeActivation(request, timeout=timeout), owned=True)

    async def maximize_layer(
        self,
        model: str | ModelReference,
        layer: str,
        channels: Iterable[int] | None = None,
        *,
        target: LayerTarget | None = None,
        steps: int | None = None,
        size: tuple[int, int] | None = None,
        seed: int | None = None,
        parameterization: Parameterization | None = None,
        transforms: Sequence[Transform] | None = None,
        penalties: Sequence[Penalty] = (),
        optimizer: Optimizer | None = None,
        learning_rate: float | None = None,
        stop_rules: Sequence[StopRule] = (),
        picture_format: PictureFormat | None = None,
        picture_quality: int | None = None,
        frame_every: int | None = None,
        frame_interval: float | None = None,
        frame_format: FrameFormat | None = None,
        frame_quality: int | None = None,
        sheet_columns: int | None = None,
        sheet_tile: int | None = None,
        sheet_format: PictureFormat | None = None,
        sheet_quality: int | None = None,
        linger: float | None = None,
        fixed_inputs: Mapping[str, ArrayLike] | None = None,
        priority: int | None = None,
        precision: Precision | None = None,
        timeout: float | None = None,
    ) -> LayerRun:
        """Find a picture for each of many channels of a layer; returns when the server has accepted the job.

        What is not explained here is as in `maximize`, for each picture by itself. The picture of a channel is the one
        that `maximize` finds for that channel alone with the same seed.

        Args:
            model: The model, or its name.
            layer: The name of the layer, as `model(...).layers` has it.
            channels: Indices of the channels, 0-based, each once, in the order in which they are drawn. None: all.
            target: What is maximized of each: the mean of the `channel` (default), or the `neuron` at its centre.
            steps: The number of steps of each picture, 1 to 100000. Default: 256.
            size: (height, width) in pixels, 8 to 4096 a side. Default: that of the model.
            seed: What the random numbers of every picture are drawn from. Default: the server chooses one.
            parameterization: How a picture is made of numbers. Default: `parameterizations.fourier()`.
            transforms: The random changes of each step. None: the default set; empty: none.
            penalties: What is subtracted from the objective.
            optimizer: How the numbers are moved. Default: `optimizers.adam()`.
            learning_rate: Short for `optimizer=optimizers.adam(learning_rate=...)`.
            stop_rules: Reasons to stop a picture before its last step.
            picture_format: How finished pictures are compressed: `png`, `jpeg` or `webp`. Default: `png`.
            picture_quality: The quality of JPEG and WebP, 1 to 100. Default: 90.
            frame_every: Intermediate pictures every so many steps of a channel. Default: none, or 16 where another
                choice about frames is made.
            frame_interval: Instead, at most one intermediate picture of a channel in so many seconds.
            frame_format: How frames are compressed. Default: `webp`.
            frame_quality: The quality of JPEG and WebP frames, 1 to 100. Default: 90.
            sheet_columns: The pictures in a row of the contact sheet. Default: as many as make it square.
            sheet_tile: The longer side of each picture on it, 8 to 1024 pixels. Default: its own, at most 128.
            sheet_format: How the contact sheet is compressed. Default: `png`.
            sheet_quality: The quality of a JPEG or WebP sheet, 1 to 100. Default: 90.
            linger: Seconds that the job goes on when nobody watches it. Default: it ends at once.
            fixed_inputs: What the inputs of the model that are no picture get, by name.
            priority: The weight of the share of the device that all these pictures have together. Default: 1.
            precision: How exactly the network is computed: `float32` or `bfloat16`. Default: `float32`.
            timeout: Seconds after which the job is ended. None: never.

        Raises:
            InvalidArgument: a field is wrong; the error names it.
            NotFound: there is no such model or layer; the error has the nearest names.
            LayerUnusable: the layer has no channels that can be maximized.
            Overloaded: too many jobs run.
        """
        settings = LayerSettings(
            model=model if isinstance(model, ModelReference) else ModelReference(model),
            layer=layer,
            channels=() if channels is None else _some(channels),
            target=target,
            steps=steps,
            size=size,
            seed=seed,
            parameterization=parameterization,
            transforms=None if transforms is None else tuple(transforms),
            penalties=tuple(penalties),
            optimizer=_optimizer(optimizer, learning_rate),
            stop_rules=tuple(stop_rules),
            picture_format=picture_format,
            picture_quality=picture_quality,
            frame_every=frame_every,
            frame_interval=frame_interval,
            frame_format=frame_format,
            frame_quality=frame_quality,
            sheet_columns=sheet_columns,
            sheet_tile=sheet_tile,
            sheet_format=sheet_format,
            sheet_quality=sheet_quality,
            linger=linger,
            fixed_inputs=as_arrays(fixed_inputs or {}),
            priority=priority,
            precision=precision,
        )
        request = encode_layer_settings(settings)
        self._require_open()
        return await self._follow(LayerRun, self._maximizations.MaximizeLayer(request, timeout=timeout), owned=True)

    async def watch_layer(self, id: str, *, from_picture: int = 0, timeout: float | None = None) -> LayerRun:
        """Watch the maximization of a layer that is running or finished; closing the run leaves the job to the others.

        Args:
            id: The id of the job, `run.id`.
            from_picture: The `index` of the first picture that is wanted: the number of those that are known already.
            timeout: Seconds after which watching ends. None: never.

        Raises:
            NotFound: there never was such a job, or it is forgotten, or it is no layer.
        """
        request = build(maximization_pb2.WatchLayerRequest, "", maximization_id=id, from_picture=from_picture)
        self._require_open()
        return await self._follow(LayerRun, self._maximizations.WatchLayer(request, timeout=timeout), owned=False)

    async def watch(self, id: str, *, from_step: int | None = None, timeout: float | None = None) -> Run:
        """Watch a maximization that is running or finished; closing the run leaves the job to its other watchers.

        Args:
            id: The id of the job, `run.id`.
            from_step: The first step whose frames are wanted, as far as they are still kept. None: only new frames.
            timeout: Seconds after which watching ends. None: never.

        Raises:
            NotFound: there never was such a job, or it is forgotten.
        """
        request = maximization_pb2.WatchMaximizationRequest(maximization_id=id, from_step=from_step)
        self._require_open()
        return await self._follow(Run, self._maximizations.WatchMaximization(request, timeout=timeout), owned=False)

    async def maximization(self, id: str) -> Maximization:
        """Describe a maximization.

        Raises:
            NotFound: there never was such a job, or it is forgotten.
        """
        request = maximization_pb2.GetMaximizationRequest(maximization_id=id)
        response = await self._answer(self._maximizations.GetMaximization(request, timeout=self._timeout))
        return decode_maximization(response.maximization)

    async def maximizations(self) -> tuple[Maximization, ...]:
        """List the maximizations that the server remembers, those of layers too, the newest first."""
        jobs: list[Maximization] = []
        token = ""
        while True:
            request = maximization_pb2.ListMaximizationsRequest(page_token=token)
            page = await self._answer(self._maximizations.ListMaximizations(request, timeout=self._timeout))
            jobs += [decode_maximization(item) for item in page.maximizations]
            token = page.next_page_token
            if not token:
                return tuple(jobs)

    async def cancel(self, id: str) -> bool:
        """End a maximization before its next step; its watchers get the result so far.

        Returns:
            Whether it had not ended before.

        Raises:
            NotFound: there never was such a job, or it is forgotten.
        """
        request = maximization_pb2.CancelMaximizationRequest(maximization_id=id)
        response = await self._answer(self._maximizations.CancelMaximization(request, timeout=self._timeout))
        return response.cancelled

    async def _answer(self, call: Awaitable[Response]) -> Response:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise await self._explain(error) from error

    async def _explain(self, error: grpc.aio.AioRpcError) -> PhospheneError:
        """The error of ours that a failed call stands for."""
        explained = decode_error(error, address=self.address)
        if isinstance(explained, Unavailable) and self._server is not None:
            last_words = await asyncio.to_thread(self._server.last_words)
            if last_words is not None:
                return Unavailable(f"the embedded server has ended; it wrote:\n{last_words}")
        return explained

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable("this client is closed")

    async def _follow(self, kind: type[AnyRun], stream: Stream, *, owned: bool) -> AnyRun:
        self._streams.add(stream)
        run = kind(stream, cancel=self.cancel, explain=self._explain, owned=owned)
        await run.accept()
        return run


def _optimizer(optimizer: Optimizer | None, learning_rate: float | None) -> Optimizer | None:
    if learning_rate is not None and optimizer is not None:
        raise invalid("optimizer", expected="optimizer or learning_rate, not both", value="both")
    return optimizer if learning_rate is None else Adam(learning_rate=learning_rate)


def _some(channels: Iterable[int]) -> tuple[int, ...]:
    """The channels; an empty list is refused, as the contract takes it for all."""
    chosen = tuple(channels)
    if not chosen:
        raise invalid("channels", expected="at least one channel, or None for all", value=[])
    return chosen

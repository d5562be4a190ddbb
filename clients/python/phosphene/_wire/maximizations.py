"""Maximizations: settings to requests and back, events to values."""

from datetime import UTC
from typing import Any, cast

import numpy as np
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from phosphene._wire.building import build, invalid
from phosphene._wire.choices import (
    decode_optimizer,
    decode_parameterization,
    decode_penalty,
    decode_stop_rule,
    decode_transform,
    encode_optimizer,
    encode_parameterization,
    encode_penalty,
    encode_stop_rule,
    encode_transform,
)
from phosphene._wire.enumerations import decode_word
from phosphene._wire.images import encode_encoding
from phosphene._wire.models import decode_reference, encode_reference
from phosphene._wire.objectives import decode_objective, encode_objective
from phosphene._wire.tensors import decode_tensor, encode_tensor
from phosphene.maximizations import (
    Event,
    Frame,
    FrameFormat,
    Maximization,
    MaximizationSettings,
    MaximizationState,
    MaximizationWarning,
    Progress,
    Result,
    StopReason,
)
from phosphene.v1 import image_pb2, model_pb2
from phosphene.v1 import maximization_pb2 as pb


def encode_settings(settings: MaximizationSettings) -> pb.MaximizeActivationRequest:
    """The request that asks for a maximization; what is None is left unset.

    Raises:
        InvalidArgument: a field cannot hold its value.
    """
    parameterization, optimizer = settings.parameterization, settings.optimizer
    return build(
        pb.MaximizeActivationRequest,
        "",
        model=encode_reference(settings.model),
        objective=encode_objective(settings.objective),
        steps=settings.steps,
        size=_size(settings.size),
        pictures=settings.pictures,
        seed=settings.seed,
        parameterization=parameterization and encode_parameterization(parameterization, "parameterization"),
        transforms=_transforms(settings),
        penalties=[encode_penalty(item, f"penalties[{index}]") for index, item in enumerate(settings.penalties)],
        optimizer=optimizer and encode_optimizer(optimizer, "optimizer"),
        stop_rules=[encode_stop_rule(item, f"stop_rules[{index}]") for index, item in enumerate(settings.stop_rules)],
        frames=_frames(settings),
        result=build(pb.ResultOptions, "result", tensors=settings.tensors),
        linger=_duration(settings.linger, "linger"),
        fixed_inputs=[
            _named_tensor(name, value, f"fixed_inputs[{index}]")
            for index, (name, value) in enumerate(settings.fixed_inputs.items())
        ],
    )


def decode_settings(message: pb.MaximizeActivationRequest) -> MaximizationSettings:
    """The settings in a request, as `accepted` tells them."""
    frames = message.frames
    return MaximizationSettings(
        model=decode_reference(message.model),
        objective=decode_objective(message.objective),
        steps=message.steps if message.HasField("steps") else None,
        size=(message.size.height, message.size.width) if message.HasField("size") else None,
        pictures=message.pictures if message.HasField("pictures") else None,
        seed=message.seed if message.HasField("seed") else None,
        parameterization=(
            decode_parameterization(message.parameterization) if message.HasField("parameterization") else None
        ),
        transforms=(
            tuple(decode_transform(item) for item in message.transforms.items)
            if message.HasField("transforms")
            else None
        ),
        penalties=tuple(decode_penalty(item) for item in message.penalties),
        optimizer=decode_optimizer(message.optimizer) if message.HasField("optimizer") else None,
        stop_rules=tuple(decode_stop_rule(item) for item in message.stop_rules),
        frame_every=frames.every_steps if frames.HasField("every_steps") else None,
        frame_interval=frames.interval.ToTimedelta().total_seconds() if frames.HasField("interval") else None,
        frame_format=_frame_format(frames.encoding),
        frame_quality=frames.encoding.quality if frames.encoding.HasField("quality") else None,
        tensors=message.result.tensors if message.result.HasField("tensors") else None,
        linger=message.linger.ToTimedelta().total_seconds() if message.HasField("linger") else None,
        fixed_inputs={item.name: decode_tensor(item.value) for item in message.fixed_inputs},
    )


def decode_event(message: pb.MaximizationEvent) -> Event | None:
    """The event in a message; None for one that this client does not know."""
    match message.WhichOneof("kind"):
        case "progress":
            return _progress(message.progress)
        case "frame":
            return _frame(message.frame)
        case "warning":
            warning = message.warning
            return MaximizationWarning(warning.step, warning.reason, warning.message)
        case "result":
            return _result(message.result)
    return None


def decode_maximization(message: pb.Maximization) -> Maximization:
    """A job as the server knows it."""
    return Maximization(
        id=message.maximization_id,
        state=cast("MaximizationState", decode_word(pb.MaximizationState.DESCRIPTOR, message.state)),
        settings=decode_settings(message.settings),
        progress=_progress(message.progress),
        create_time=message.create_time.ToDatetime(tzinfo=UTC),
        error=message.error,
    )


def _named_tensor(name: str, value: NDArray[Any], field: str) -> model_pb2.NamedTensor:
    tensor = encode_tensor(np.asarray(value), field=f"{field}.value")
    return build(model_pb2.NamedTensor, field, name=name, value=tensor)


def _size(size: tuple[int, int] | None) -> image_pb2.ImageSize | None:
    if size is None:
        return None
    try:
        height, width = size
    except (TypeError, ValueError) as error:
        raise invalid("size", expected="(height, width) in pixels", value=size) from error
    return build(image_pb2.ImageSize, "size", height=height, width=width)


def _transforms(settings: MaximizationSettings) -> pb.Transforms | None:
    if settings.transforms is None:
        return None
    items = [encode_transform(item, f"transforms.items[{index}]") for index, item in enumerate(settings.transforms)]
    return pb.Transforms(items=items)


def _frames(settings: MaximizationSettings) -> pb.FrameOptions | None:
    if settings.frame_every is not None and settings.frame_interval is not None:
        raise invalid("frames", expected="frame_every or frame_interval, not both", value="both")
    encoding = encode_encoding(settings.frame_format, settings.frame_quality, field="frames.encoding")
    if settings.frame_every is None and settings.frame_interval is None and encoding is None:
        return None
    interval = _duration(settings.frame_interval, "frames.interval")
    return build(pb.FrameOptions, "frames", every_steps=settings.frame_every, interval=interval, encoding=encoding)


def _duration(seconds: float | None, field: str) -> Duration | None:
    if seconds is None:
        return None
    try:
        message = Duration()
        message.FromNanoseconds(round(seconds * 1e9))
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid(field, expected="a number of seconds", value=seconds) from error
    return message


def _frame_format(encoding: image_pb2.ImageEncoding) -> FrameFormat | None:
    return (
        cast("FrameFormat", decode_word(image_pb2.ImageFormat.DESCRIPTOR, encoding.format)) if encoding.format else None
    )


def _progress(message: pb.MaximizationProgress) -> Progress:
    remaining = message.remaining.ToTimedelta().total_seconds() if message.HasField("remaining") else None
    return Progress(
        step=message.step,
        steps=message.steps,
        objective=np.array(message.objective, dtype=np.float64),
        steps_per_second=message.steps_per_second,
        remaining_seconds=remaining,
        queue_position=message.queue_position,
    )


def _frame(message: pb.MaximizationFrame) -> Frame:
    return Frame(
        step=message.step,
        objective=np.array(message.objective, dtype=np.float64),
        dropped=message.dropped,
        encoded=tuple(image.data for image in message.images),
    )


def _result(message: pb.MaximizationResult) -> Result:
    return Result(
        step=message.step,
        stop_reason=cast("StopReason", decode_word(pb.StopReason.DESCRIPTOR, message.stop_reason)),
        objective=np.array(message.objective, dtype=np.float64),
        history=decode_tensor(message.history),
        duration_seconds=message.duration.ToTimedelta().total_seconds(),
        encoded=tuple(image.data for image in message.images),
        tensors=np.stack([decode_tensor(item) for item in message.tensors]) if message.tensors else None,
    )

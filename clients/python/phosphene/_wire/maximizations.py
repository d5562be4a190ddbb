"""Maximizations: settings to requests and back, events to values."""

from datetime import UTC
from typing import cast

import numpy as np

from phosphene._wire.ascents import decode_shared, encode_shared
from phosphene._wire.building import build
from phosphene._wire.enumerations import decode_word
from phosphene._wire.layers import decode_layer_progress, decode_layer_settings
from phosphene._wire.objectives import decode_objective, encode_objective
from phosphene._wire.tensors import decode_tensor
from phosphene.jobs import Maximization, MaximizationState
from phosphene.maximizations import (
    Event,
    Frame,
    MaximizationSettings,
    MaximizationWarning,
    Progress,
    Result,
    StopReason,
)
from phosphene.v1 import maximization_pb2 as pb


def encode_settings(settings: MaximizationSettings) -> pb.MaximizeActivationRequest:
    """The request that asks for a maximization; what is None is left unset.

    Raises:
        InvalidArgument: a field cannot hold its value.
    """
    return build(
        pb.MaximizeActivationRequest,
        "",
        objective=encode_objective(settings.objective),
        pictures=settings.pictures,
        result=build(pb.ResultOptions, "result", tensors=settings.tensors),
        **encode_shared(settings),
    )


def decode_settings(message: pb.MaximizeActivationRequest) -> MaximizationSettings:
    """The settings in a request, as `accepted` tells them."""
    return MaximizationSettings(
        objective=decode_objective(message.objective),
        pictures=message.pictures if message.HasField("pictures") else None,
        tensors=message.result.tensors if message.result.HasField("tensors") else None,
        **decode_shared(message),
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
    layer = message.HasField("layer_settings")
    return Maximization(
        id=message.maximization_id,
        state=cast("MaximizationState", decode_word(pb.MaximizationState.DESCRIPTOR, message.state)),
        settings=decode_layer_settings(message.layer_settings) if layer else decode_settings(message.settings),
        progress=decode_layer_progress(message.layer_progress) if layer else _progress(message.progress),
        create_time=message.create_time.ToDatetime(tzinfo=UTC),
        error=message.error,
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

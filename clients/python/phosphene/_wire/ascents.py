"""The settings that requests for one objective and for a layer have in common, to messages and back.

They have the same names in both messages, and in both of our values.
"""

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
from phosphene._wire.enumerations import decode_word, encode_word
from phosphene._wire.images import decode_encoding, decode_size, encode_encoding, encode_size
from phosphene._wire.models import decode_reference, encode_reference
from phosphene._wire.tensors import decode_tensor, encode_tensor
from phosphene.layers import LayerSettings
from phosphene.maximizations import MaximizationSettings, Precision
from phosphene.v1 import maximization_pb2 as pb
from phosphene.v1 import model_pb2

Settings = MaximizationSettings | LayerSettings
Request = pb.MaximizeActivationRequest | pb.MaximizeLayerRequest


def encode_shared(settings: Settings) -> dict[str, Any]:
    """The shared fields of a request; what is None is left unset.

    Raises:
        InvalidArgument: a field cannot hold its value.
    """
    parameterization, optimizer = settings.parameterization, settings.optimizer
    return {
        "model": encode_reference(settings.model),
        "steps": settings.steps,
        "size": encode_size(settings.size, field="size"),
        "seed": settings.seed,
        "parameterization": parameterization and encode_parameterization(parameterization, "parameterization"),
        "transforms": _transforms(settings),
        "penalties": [encode_penalty(item, f"penalties[{index}]") for index, item in enumerate(settings.penalties)],
        "optimizer": optimizer and encode_optimizer(optimizer, "optimizer"),
        "stop_rules": [encode_stop_rule(item, f"stop_rules[{i}]") for i, item in enumerate(settings.stop_rules)],
        "frames": _frames(settings),
        "linger": _duration(settings.linger, "linger"),
        "fixed_inputs": [
            _named_tensor(name, value, f"fixed_inputs[{index}]")
            for index, (name, value) in enumerate(settings.fixed_inputs.items())
        ],
        "priority": settings.priority,
        "precision": encode_word(pb.Precision.DESCRIPTOR, settings.precision, field="precision"),
    }


def decode_shared(message: Request) -> dict[str, Any]:
    """The shared settings in a request, as `accepted` tells them."""
    frames = message.frames
    frame_format, frame_quality = decode_encoding(frames.encoding)
    return {
        "model": decode_reference(message.model),
        "steps": message.steps if message.HasField("steps") else None,
        "size": decode_size(message.size) if message.HasField("size") else None,
        "seed": message.seed if message.HasField("seed") else None,
        "parameterization": (
            decode_parameterization(message.parameterization) if message.HasField("parameterization") else None
        ),
        "transforms": (
            tuple(decode_transform(item) for item in message.transforms.items)
            if message.HasField("transforms")
            else None
        ),
        "penalties": tuple(decode_penalty(item) for item in message.penalties),
        "optimizer": decode_optimizer(message.optimizer) if message.HasField("optimizer") else None,
        "stop_rules": tuple(decode_stop_rule(item) for item in message.stop_rules),
        "frame_every": frames.every_steps if frames.HasField("every_steps") else None,
        "frame_interval": frames.interval.ToTimedelta().total_seconds() if frames.HasField("interval") else None,
        "frame_format": frame_format,
        "frame_quality": frame_quality,
        "linger": message.linger.ToTimedelta().total_seconds() if message.HasField("linger") else None,
        "fixed_inputs": {item.name: decode_tensor(item.value) for item in message.fixed_inputs},
        "priority": message.priority if message.HasField("priority") else None,
        "precision": _precision(message.precision),
    }


def _named_tensor(name: str, value: NDArray[Any], field: str) -> model_pb2.NamedTensor:
    tensor = encode_tensor(np.asarray(value), field=f"{field}.value")
    return build(model_pb2.NamedTensor, field, name=name, value=tensor)


def _transforms(settings: Settings) -> pb.Transforms | None:
    if settings.transforms is None:
        return None
    items = [encode_transform(item, f"transforms.items[{index}]") for index, item in enumerate(settings.transforms)]
    return pb.Transforms(items=items)


def _frames(settings: Settings) -> pb.FrameOptions | None:
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


def _precision(number: int) -> Precision | None:
    return cast("Precision", decode_word(pb.Precision.DESCRIPTOR, number)) if number else None

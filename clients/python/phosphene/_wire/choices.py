"""The choices of a maximization that are each one of several kinds: one table for each, read in both directions.

A row names the case of the message's oneof, our value and its message; the fields have the same names in both, and a
field that is unset in the message is None in the value.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from phosphene._wire.building import build, invalid
from phosphene._wire.enumerations import decode_word, encode_word
from phosphene._wire.images import decode_size, encode_size
from phosphene.errors import Unsupported
from phosphene.optimizers import Adam, Optimizer
from phosphene.parameterizations import Fourier, Parameterization, Pixels
from phosphene.penalties import L1, L2, Penalty, TotalVariation
from phosphene.stop_rules import Plateau, StopRule, Target
from phosphene.transforms import Jitter, Noise, Pad, Resize, Rotate, Scale, Transform
from phosphene.v1 import maximization_pb2 as pb

Table = Mapping[str, tuple[type[Any], type[Message]]]

PARAMETERIZATIONS: Table = {
    "fourier": (Fourier, pb.FourierParameterization),
    "pixels": (Pixels, pb.PixelParameterization),
}
TRANSFORMS: Table = {
    "jitter": (Jitter, pb.JitterTransform),
    "scale": (Scale, pb.ScaleTransform),
    "rotate": (Rotate, pb.RotateTransform),
    "noise": (Noise, pb.NoiseTransform),
    "pad": (Pad, pb.PadTransform),
    "resize": (Resize, pb.ResizeTransform),
}
PENALTIES: Table = {
    "total_variation": (TotalVariation, pb.TotalVariationPenalty),
    "l1": (L1, pb.L1Penalty),
    "l2": (L2, pb.L2Penalty),
}
OPTIMIZERS: Table = {"adam": (Adam, pb.AdamOptimizer)}
STOP_RULES: Table = {"target": (Target, pb.TargetStopRule), "plateau": (Plateau, pb.PlateauStopRule)}


def encode_parameterization(value: Parameterization, path: str) -> pb.Parameterization:
    """The message of a parameterization."""
    return pb.Parameterization(**_case(PARAMETERIZATIONS, value, path))


def decode_parameterization(message: pb.Parameterization) -> Parameterization:
    """The parameterization in a message."""
    return _value(PARAMETERIZATIONS, message)  # type: ignore[no-any-return]  # the table holds exactly these classes


def encode_transform(value: Transform, path: str) -> pb.Transform:
    """The message of a transform."""
    return pb.Transform(**_case(TRANSFORMS, value, path))


def decode_transform(message: pb.Transform) -> Transform:
    """The transform in a message."""
    return _value(TRANSFORMS, message)  # type: ignore[no-any-return]  # the table holds exactly these classes


def encode_penalty(value: Penalty, path: str) -> pb.WeightedPenalty:
    """The message of a penalty and its weight; the messages of the penalties themselves are empty."""
    for name, (kind, message) in PENALTIES.items():
        if isinstance(value, kind):
            penalty = pb.Penalty(**{name: message()})  # type: ignore[arg-type]  # the table pairs name and message
            return build(pb.WeightedPenalty, path, weight=value.weight, penalty=penalty)
    raise _unknown(PENALTIES, value, path)


def decode_penalty(message: pb.WeightedPenalty) -> Penalty:
    """The penalty in a message."""
    kind, _ = PENALTIES[_name(message.penalty)]
    return kind(message.weight)  # type: ignore[no-any-return]  # the table holds exactly these classes


def encode_optimizer(value: Optimizer, path: str) -> pb.Optimizer:
    """The message of an optimizer."""
    return pb.Optimizer(**_case(OPTIMIZERS, value, path))


def decode_optimizer(message: pb.Optimizer) -> Optimizer:
    """The optimizer in a message."""
    return _value(OPTIMIZERS, message)  # type: ignore[no-any-return]  # the table holds exactly these classes


def encode_stop_rule(value: StopRule, path: str) -> pb.StopRule:
    """The message of a stop rule."""
    return pb.StopRule(**_case(STOP_RULES, value, path))


def decode_stop_rule(message: pb.StopRule) -> StopRule:
    """The stop rule in a message."""
    return _value(STOP_RULES, message)  # type: ignore[no-any-return]  # the table holds exactly these classes


def _case(table: Table, value: object, path: str) -> dict[str, Any]:
    """The case of the oneof that a value is, by its name."""
    for name, (kind, message) in table.items():
        if isinstance(value, kind):
            return {name: build(message, f"{path}.{name}", **_fields(value, f"{path}.{name}"))}
    raise _unknown(table, value, path)


def _fields(value: object, path: str) -> dict[str, Any]:
    fields = dict(vars(value))
    if "border" in fields:
        fields["border"] = encode_word(pb.BorderMode.DESCRIPTOR, fields["border"], field=f"{path}.border")
    if "size" in fields:
        fields["size"] = encode_size(fields["size"], field=f"{path}.size")
    return fields


def _value(table: Table, message: Message) -> Any:
    """The value that a message with a oneof `kind` holds."""
    name = _name(message)
    kind, _ = table[name]
    inner = getattr(message, name)
    present = {
        field.name: getattr(inner, field.name)
        for field in inner.DESCRIPTOR.fields
        if not field.has_presence or inner.HasField(field.name)
    }
    if "border" in present:
        present["border"] = decode_word(pb.BorderMode.DESCRIPTOR, present["border"] or pb.BORDER_MODE_REFLECT)
    if "size" in present:
        present["size"] = decode_size(present["size"])
    return kind(**present)


def _name(message: Message) -> str:
    name: str | None = message.WhichOneof("kind")
    if name is None:
        raise Unsupported("the server uses a choice that this client does not know; please upgrade it")
    return name


def _unknown(table: Table, value: object, path: str) -> Exception:
    return invalid(path, expected=f"one of {', '.join(kind.__name__ for kind, _ in table.values())}", value=value)

"""Messages about models, made into our values."""

from typing import cast

from phosphene._wire.building import build
from phosphene._wire.enumerations import decode_word, encode_word
from phosphene.models import (
    ChannelOrder,
    Layer,
    Model,
    ModelFormat,
    ModelReference,
    ModelSummary,
    Parity,
    Preprocessing,
    TensorSpecification,
)
from phosphene.v1 import model_pb2, tensor_pb2


def encode_reference(model: str | ModelReference) -> model_pb2.ModelReference:
    """The message of a model's name or reference."""
    reference = model if isinstance(model, ModelReference) else ModelReference(model)
    number = encode_word(model_pb2.ModelFormat.DESCRIPTOR, reference.format, field="model.format")
    return build(model_pb2.ModelReference, "model", name=reference.name, version=reference.version, format=number)


def decode_reference(message: model_pb2.ModelReference) -> ModelReference:
    """The reference in a message."""
    return ModelReference(
        message.name,
        message.version if message.HasField("version") else None,
        _format(message.format) if message.format else None,
    )


def decode_summary(message: model_pb2.ModelSummary) -> ModelSummary:
    """A line of the list of models."""
    formats = tuple(_format(number) for number in message.formats)
    return ModelSummary(message.name, message.version, formats, message.description, message.loaded)


def decode_model(message: model_pb2.Model) -> Model:
    """The description of a model."""
    return Model(
        reference=decode_reference(message.reference),
        description=message.description,
        sha256=message.sha256,
        size_bytes=message.size_bytes,
        producer=message.producer,
        inputs=tuple(_specification(item) for item in message.inputs),
        outputs=tuple(_specification(item) for item in message.outputs),
        preprocessing=_preprocessing(message.preprocessing),
        labels=tuple(message.labels),
        logits_layer=message.logits_layer,
        parameter_count=message.parameter_count,
        layers=tuple(_layer(item) for item in message.layers),
        parity=_parity(message.parity) if message.HasField("parity") else None,
        load_seconds=message.load_seconds,
    )


def _format(number: int) -> ModelFormat:
    return cast("ModelFormat", decode_word(model_pb2.ModelFormat.DESCRIPTOR, number))


def _specification(message: model_pb2.TensorSpecification) -> TensorSpecification:
    return TensorSpecification(
        message.name, decode_word(tensor_pb2.DataType.DESCRIPTOR, message.data_type), tuple(message.shape)
    )


def _preprocessing(message: model_pb2.Preprocessing) -> Preprocessing:
    return Preprocessing(
        channel_order=cast("ChannelOrder", decode_word(model_pb2.ChannelOrder.DESCRIPTOR, message.channel_order)),
        low=message.low,
        high=message.high,
        mean=tuple(message.mean),
        std=tuple(message.std),
        size=(message.size.height, message.size.width),
        fixed_size=message.fixed_size,
    )


def _layer(message: model_pb2.Layer) -> Layer:
    return Layer(message.name, message.kind, tuple(message.shape), message.parameter_count, tuple(message.filter_shape))


def _parity(message: model_pb2.Parity) -> Parity:
    return Parity(message.runtime, message.largest_deviation, message.output_scale, tuple(message.input_shape))

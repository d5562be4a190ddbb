"""Messages about models, made into our values."""

from typing import cast

from phosphene._wire.building import build
from phosphene._wire.enumerations import decode_word, encode_word
from phosphene.models import (
    BatchHandling,
    ChannelOrder,
    Layer,
    Model,
    ModelFormat,
    ModelReference,
    ModelSummary,
    Parity,
    PictureLayout,
    PixelGrid,
    Preprocessing,
    ReceptiveField,
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
        parity_note=message.parity_note,
        batch_handling=_batch_handling(message.batch_handling or model_pb2.BATCH_HANDLING_ANY),
        fixed_batch_size=message.fixed_batch_size,
        picture_input=message.picture_input,
        required_inputs=tuple(message.required_inputs),
        multiply_accumulates=message.multiply_accumulates,
    )


def _format(number: int) -> ModelFormat:
    return cast("ModelFormat", decode_word(model_pb2.ModelFormat.DESCRIPTOR, number))


def _batch_handling(number: int) -> BatchHandling:
    return cast("BatchHandling", decode_word(model_pb2.BatchHandling.DESCRIPTOR, number))


def _layout(number: int) -> PictureLayout:
    return cast("PictureLayout", decode_word(model_pb2.PictureLayout.DESCRIPTOR, number))


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
        layout=_layout(message.layout or model_pb2.PICTURE_LAYOUT_NCHW),
    )


def _layer(message: model_pb2.Layer) -> Layer:
    return Layer(
        name=message.name,
        kind=message.kind,
        shape=tuple(message.shape),
        parameter_count=message.parameter_count,
        filter_shape=tuple(message.filter_shape),
        receptive_field=_receptive_field(message.receptive_field) if message.HasField("receptive_field") else None,
        multiply_accumulates=message.multiply_accumulates,
        gradient_reaches_input=message.gradient_reaches_input,
    )


def _receptive_field(message: model_pb2.ReceptiveField) -> ReceptiveField:
    grid = _pixel_grid(message.grid) if message.HasField("grid") else None
    return ReceptiveField(message.height, message.width, message.whole_picture, grid)


def _pixel_grid(message: model_pb2.PixelGrid) -> PixelGrid:
    return PixelGrid((message.row_stride, message.column_stride), (message.row_offset, message.column_offset))


def _parity(message: model_pb2.Parity) -> Parity:
    return Parity(message.runtime, message.largest_deviation, message.output_scale, tuple(message.input_shape))

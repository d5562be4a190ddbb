"""Maximizations of layers: settings to requests and back, events to values."""

from typing import cast

from phosphene._wire.ascents import decode_shared, encode_shared
from phosphene._wire.building import build
from phosphene._wire.enumerations import decode_word, encode_word
from phosphene._wire.images import decode_encoding, decode_size, encode_encoding
from phosphene.layers import (
    ContactSheet,
    LayerFailure,
    LayerFrame,
    LayerPicture,
    LayerProgress,
    LayerSettings,
    LayerTarget,
    LayerWarning,
)
from phosphene.maximizations import StopReason
from phosphene.v1 import maximization_pb2 as pb


def encode_layer_settings(settings: LayerSettings) -> pb.MaximizeLayerRequest:
    """The request that asks for the maximization of a layer; what is None is left unset.

    Raises:
        InvalidArgument: a field cannot hold its value.
    """
    return build(
        pb.MaximizeLayerRequest,
        "",
        layer=settings.layer,
        channels=settings.channels,
        target=encode_word(pb.LayerTarget.DESCRIPTOR, settings.target, field="target"),
        encoding=encode_encoding(settings.picture_format, settings.picture_quality, field="encoding"),
        sheet=_sheet_options(settings),
        **encode_shared(settings),
    )


def decode_layer_settings(message: pb.MaximizeLayerRequest) -> LayerSettings:
    """The settings in a request, as `accepted` tells them."""
    sheet = message.sheet
    picture_format, picture_quality = decode_encoding(message.encoding)
    sheet_format, sheet_quality = decode_encoding(sheet.encoding)
    return LayerSettings(
        layer=message.layer,
        channels=tuple(message.channels),
        target=_target(message.target),
        picture_format=picture_format,
        picture_quality=picture_quality,
        sheet_columns=sheet.columns if sheet.HasField("columns") else None,
        sheet_tile=sheet.tile_size if sheet.HasField("tile_size") else None,
        sheet_format=sheet_format,
        sheet_quality=sheet_quality,
        **decode_shared(message),
    )


def decode_layer_event(
    message: pb.LayerEvent,
) -> LayerProgress | LayerPicture | LayerFailure | LayerFrame | LayerWarning | None:
    """The event in a message; None for one that this client does not know, and for the result, see LayerRun."""
    match message.WhichOneof("kind"):
        case "progress":
            return decode_layer_progress(message.progress)
        case "picture":
            return _picture(message.picture)
        case "failure":
            failure = message.failure
            return LayerFailure(failure.channel, failure.reason, failure.message)
        case "frame":
            frame = message.frame
            return LayerFrame(frame.channel, frame.step, frame.objective, frame.dropped, frame.image.data)
        case "warning":
            warning = message.warning
            return LayerWarning(warning.channel, warning.step, warning.reason, warning.message)
    return None


def decode_layer_progress(message: pb.LayerProgress) -> LayerProgress:
    """How far the maximization of a layer is."""
    return LayerProgress(
        finished=message.finished,
        failed=message.failed,
        pictures=message.pictures,
        step=message.step,
        steps=message.steps,
        pictures_per_minute=message.pictures_per_minute,
        remaining_seconds=message.remaining.ToTimedelta().total_seconds() if message.HasField("remaining") else None,
        queue_position=message.queue_position,
    )


def decode_sheet(message: pb.ContactSheet) -> ContactSheet:
    """A contact sheet."""
    return ContactSheet(
        channels=tuple(message.channels),
        columns=message.columns,
        tile=decode_size(message.tile),
        reduced=message.reduced,
        encoded=message.image.data,
    )


def _picture(message: pb.LayerPicture) -> LayerPicture:
    return LayerPicture(
        channel=message.channel,
        index=message.index,
        objective=message.objective,
        step=message.step,
        stop_reason=cast("StopReason", decode_word(pb.StopReason.DESCRIPTOR, message.stop_reason)),
        encoded=message.image.data,
    )


def _sheet_options(settings: LayerSettings) -> pb.ContactSheetOptions:
    return build(
        pb.ContactSheetOptions,
        "sheet",
        columns=settings.sheet_columns,
        tile_size=settings.sheet_tile,
        encoding=encode_encoding(settings.sheet_format, settings.sheet_quality, field="sheet.encoding"),
    )


def _target(number: int) -> LayerTarget | None:
    return cast("LayerTarget", decode_word(pb.LayerTarget.DESCRIPTOR, number)) if number else None

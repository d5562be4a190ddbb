"""The request for a layer, split into requests for single pictures.

All pictures differ in their channel alone, so the worker checks and completes one of them and the others follow from
it. The one is that of the highest channel: if the layer has it, it has them all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

from phosphene_server.errors import InvalidArgument, LayerUnusable, NotFound, PhospheneError
from phosphene_server.jobs.layer_sheet import complete_options
from phosphene_server.values.maximization import (
    ChannelObjective,
    LayerTarget,
    MaximizeActivationRequest,
    MaximizeLayerRequest,
    NeuronObjective,
    ResultOptions,
)
from phosphene_server.values.model import Layer

SHARED_FIELDS = frozenset(item.name for item in fields(MaximizeActivationRequest)) & frozenset(
    item.name for item in fields(MaximizeLayerRequest)
)
"""The fields that mean the same for a layer and for each of its pictures."""

_OBJECTIVES: Mapping[LayerTarget, type[ChannelObjective] | type[NeuronObjective]] = {
    "channel": ChannelObjective,
    "neuron": NeuronObjective,
}


def chosen_channels(request: MaximizeLayerRequest, layers: Sequence[Layer], *, limit: int) -> tuple[int, ...]:
    """Return the channels that are asked for.

    Args:
        request: The request.
        layers: The table of the model's layers. A layer that is not in it is left to the worker, which knows the
            nearest names.
        limit: The most channels of one request.

    Raises:
        InvalidArgument: a channel is named twice or is not there, or there are too many.
    """
    count = next((layer.shape[0] for layer in layers if layer.name == request.layer and layer.shape), None)
    _check_channels(request, count)
    channels = request.channels or tuple(range(count or 1))
    if len(channels) > limit:
        what = f"{len(channels)} channels" if request.channels else f"all {len(channels)} channels of the layer"
        expected = f"at most {limit} channels in one request (setting maximum_layer_channels)"
        raise InvalidArgument("channels", what, expected)
    return channels


def _check_channels(request: MaximizeLayerRequest, count: int | None) -> None:
    places: dict[int, int] = {}
    for index, channel in enumerate(request.channels):
        if count is not None and channel >= count:
            expected = f"a channel of {request.layer!r}, 0 to {count - 1}"
            raise InvalidArgument(f"channels[{index}]", str(channel), expected)
        if channel in places:
            raise InvalidArgument(
                f"channels[{index}]", f"{channel} again", f"each once; channels[{places[channel]}] is {channel}"
            )
        places[channel] = index


def picture_request(request: MaximizeLayerRequest, channel: int) -> MaximizeActivationRequest:
    """Return the request for the picture of one channel."""
    shared = {name: getattr(request, name) for name in SHARED_FIELDS}
    objective = _OBJECTIVES[request.target](request.layer, channel)
    return MaximizeActivationRequest(
        **{**shared, "objective": objective, "result": ResultOptions(request.encoding), "linger": 0.0}
    )


def completed(request: MaximizeLayerRequest, prepared: MaximizeActivationRequest) -> MaximizeLayerRequest:
    """Return a request with all defaults filled in.

    Args:
        request: The request, its channels chosen.
        prepared: The request for one of its pictures, as the worker has completed it.
    """
    assert prepared.size is not None
    shared = {name: getattr(prepared, name) for name in SHARED_FIELDS}
    sheet = complete_options(request.sheet, pictures=len(request.channels), size=prepared.size)
    own = {"linger": request.linger, "encoding": prepared.result.encoding, "sheet": sheet}
    return replace(request, **{**shared, **own})


def pixel_bytes(request: MaximizeLayerRequest) -> int:
    """Return what all pictures of a completed request take before they are compressed, in bytes."""
    assert request.size is not None
    colors = 3
    return len(request.channels) * request.size.height * request.size.width * colors


def explained(error: PhospheneError, request: MaximizeLayerRequest) -> PhospheneError:
    """Return what the worker found wrong with the request for a picture, told by the fields of the one for a layer."""
    objective = f"objective.{request.target}"
    highest = request.channels.index(max(request.channels))
    own = {f"{objective}.layer": "layer", objective: "layer", f"{objective}.channel": f"channels[{highest}]"}
    if isinstance(error, InvalidArgument | NotFound | LayerUnusable) and error.field in own:
        return replace(error, field=own[error.field])
    return error

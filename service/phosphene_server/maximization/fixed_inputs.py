"""What a request gives the inputs of a model that are no picture."""

from collections.abc import Hashable, Sequence

from torch import Tensor

from phosphene_server.errors import InvalidArgument, NotFound, nearest_names
from phosphene_server.models.inputs import described, fitted, tensor_of
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values.expectation import shown
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import MaximizeActivationRequest
from phosphene_server.values.model import NamedTensor


def complete_fixed_inputs(
    model: LoadedModel, request: MaximizeActivationRequest, size: ImageSize
) -> tuple[NamedTensor, ...]:
    """Check what a request gives the other inputs of its model, and add what the manifest says.

    Args:
        model: The model.
        request: What came.
        size: The size of the pictures.

    Returns:
        One value for each input that is no picture, in the order of the model. Single numbers stay as they are: what
        they fill may depend on the size at which a picture is seen.

    Raises:
        NotFound: the model has no such input; the error has the nearest names.
        InvalidArgument: a value does not fit its input, or an input that needs one has none.
    """
    reading = model.reading
    given = {item.name: (index, item) for index, item in enumerate(request.fixed_inputs)}
    _check_names(model, request.fixed_inputs)
    complete = []
    for position, entry in reading.others.items():
        if entry.name in given:
            index, item = given[entry.name]
            complete.append(_fitted(model, position, item, size, request.pictures, f"fixed_inputs[{index}].value"))
        elif entry.name in reading.defaults:
            item = NamedTensor(entry.name, reading.defaults[entry.name])
            complete.append(_fitted(model, position, item, size, request.pictures, "fixed_inputs"))
        else:
            raise InvalidArgument(
                "fixed_inputs",
                f"nothing for the input {entry.name!r} of the model",
                f"a value for each of its other inputs; {entry.name!r} takes {described(entry)}",
            )
    return tuple(complete)


def other_inputs(
    model: LoadedModel, fixed: Sequence[NamedTensor], *, height: int, width: int, count: int
) -> dict[str, Tensor]:
    """Return the inputs that go with pictures, by name, on the device.

    Args:
        model: The model.
        fixed: One value for each of them, as `complete_fixed_inputs` gives them.
        height: Of the pictures as the network is shown them, in pixels.
        width: Of the same.
        count: The number of pictures. Values for more of them are cut off.
    """
    reading = model.reading
    size = reading.seen_size(ImageSize(height, width))
    tensors = {}
    for position, item in zip(reading.others, fixed, strict=True):
        batched = position not in model.graph.batching.shared
        value = fitted(reading, position, item.value, size, batched=batched)
        tensor = tensor_of(value, dtype=model.dtype, device=model.device)
        if batched:
            tensor = tensor.expand(count, *tensor.shape[1:]) if len(tensor) == 1 else tensor[:count]
        tensors[item.name] = tensor
    return tensors


def stacking_key(model: LoadedModel, fixed: Sequence[NamedTensor], *, height: int, width: int) -> Hashable:
    """Return what must be equal for the other inputs of two jobs to stand in one batch.

    That is the shapes of those with a batch axis, and the very numbers of those without. The arguments are those of
    `other_inputs`.
    """
    reading, shared = model.reading, model.graph.batching.shared
    size = reading.seen_size(ImageSize(height, width))
    parts = []
    for position, item in zip(reading.others, fixed, strict=True):
        value = fitted(reading, position, item.value, size, batched=position not in shared)
        parts.append((value.shape, value.tobytes()) if position in shared else (value.shape[1:], b""))
    return tuple(parts)


def _check_names(model: LoadedModel, fixed: Sequence[NamedTensor]) -> None:
    reading = model.reading
    known = [entry.name for entry in reading.others.values()]
    seen: set[str] = set()
    for index, item in enumerate(fixed):
        field = f"fixed_inputs[{index}].name"
        if item.name == model.model.picture_input:
            raise InvalidArgument(field, repr(item.name), "another input of the model: this one is the picture itself")
        if item.name not in known:
            raise NotFound("input", item.name, nearest_names(item.name, known) or tuple(known[:3]), field)
        if item.name in seen:
            raise InvalidArgument(field, f"{item.name!r} again", "each input once")
        seen.add(item.name)


def _fitted(
    model: LoadedModel, position: int, item: NamedTensor, size: ImageSize, pictures: int, field: str
) -> NamedTensor:
    reading = model.reading
    entry = reading.inputs[position]
    batched = position not in model.graph.batching.shared
    try:
        value = fitted(reading, position, item.value, reading.seen_size(size), batched=batched)
    except ValueError as error:
        raise InvalidArgument(field, f"{shown(item.value)} for input {entry.name!r}", str(error)) from error
    if not item.value.ndim:
        return item
    if batched and len(value) not in (1, pictures):
        expected = f"1 or {pictures} entries along the first axis, the batch"
        raise InvalidArgument(field, f"{len(value)} entries for input {entry.name!r}", expected)
    return NamedTensor(item.name, value)

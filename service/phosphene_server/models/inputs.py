"""What a graph reads: which of its inputs is the picture, how the picture is made, and what the others get.

An input has a batch axis when its first length is declared as that of the pictures' input is, open or the same number.
An axis of an input that the file leaves open is 1 long, but for the height and width of an input with four axes: those
are the picture's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.errors import ModelUnusable
from phosphene_server.models.preprocessing import CHANNEL_AXES, SPATIAL_AXES, preprocess
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import NamedTensor, PictureLayout, Preprocessing, TensorSpecification
from phosphene_server.values.work import ModelSource, OpenSetting

Array = NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Reading:
    """How the inputs of a graph are filled."""

    inputs: tuple[TensorSpecification, ...]
    picture: int | None
    """The position of the pictures; None: the model reads none."""
    preprocessing: Preprocessing
    defaults: Mapping[str, Array]
    """What other inputs get where a request does not say it, by name; one number stands for a tensor full of it."""

    @property
    def others(self) -> dict[int, TensorSpecification]:
        """The inputs that are not the picture, by position."""
        return {position: entry for position, entry in enumerate(self.inputs) if position != self.picture}

    @property
    def required(self) -> tuple[str, ...]:
        """The names of the inputs that a request has to fix."""
        return tuple(entry.name for entry in self.others.values() if entry.name not in self.defaults)

    def shared(self) -> frozenset[int]:
        """Return the positions of the inputs without a batch axis, as far as the file tells."""
        own = self.inputs[self.picture].shape if self.picture is not None else ()
        batched = {position for position, entry in self.others.items() if entry.shape[:1] == own[:1] != ()}
        return frozenset(self.others.keys() - batched)

    def seen_size(self, size: ImageSize) -> ImageSize:
        """Return the size at which the graph sees pictures of a size."""
        return self.preprocessing.size if self.preprocessing.fixed_size else size

    def shape(self, position: int, size: ImageSize) -> tuple[int, ...]:
        """Return the shape of another input for one picture that the graph sees at a size."""
        lengths = list(self.inputs[position].shape)
        if len(lengths) == 4:
            for axis, length in zip(SPATIAL_AXES[self.preprocessing.layout], (size.height, size.width), strict=True):
                lengths[axis] = lengths[axis] if lengths[axis] > 0 else length
        return tuple(max(length, 1) for length in lengths)


def read_inputs(source: ModelSource, inputs: Sequence[TensorSpecification]) -> Reading:
    """Return how a graph is fed, by its manifest and, where that says nothing, by what the file declares.

    Raises:
        ModelUnusable: the manifest names an input that the model does not have, or contradicts the file.
    """
    name = source.reference.name
    picture = _picture_position(inputs, source)
    preprocessing = source.preprocessing
    if picture is not None:
        preprocessing = _completed(preprocessing, source.left_open, inputs[picture].shape)
        if not _is_picture(inputs[picture].shape, preprocessing):
            _refuse_contradiction(source, inputs[picture], preprocessing)
            picture = None
    reading = Reading(tuple(inputs), picture, preprocessing, {})
    return replace(reading, defaults=_defaults(reading, source.other_inputs, name))


def fitted(reading: Reading, position: int, value: Array, size: ImageSize, *, batched: bool) -> Array:
    """Return a value in the type and with all axes of another input.

    Args:
        reading: How the inputs are filled.
        position: The input.
        value: One number; a tensor of the input's shape; where it has a batch axis, also one without that axis.
        size: The size at which the graph sees the pictures.
        batched: Whether the input has a batch axis.

    Returns:
        The tensor; its batch axis has the length that `value` has there, otherwise 1.

    Raises:
        ValueError: it does not fit; the message is what was expected.
    """
    entry = reading.inputs[position]
    converted = _converted(value, entry)
    if not value.ndim:
        return np.full(reading.shape(position, size), converted)
    if not entry.shape:
        return converted  # the file does not tell its shape
    if batched and value.ndim == len(entry.shape) - 1:
        converted = converted[np.newaxis]
    lengths = list(zip(converted.shape, entry.shape, strict=False))[1 if batched else 0 :]
    if converted.ndim != len(entry.shape) or any(wanted > 0 and length != wanted for length, wanted in lengths):
        raise ValueError(described(entry))
    return converted


def described(entry: TensorSpecification) -> str:
    """Return what an input takes, as a phrase."""
    shape = ", ".join("any" if length < 0 else str(length) for length in entry.shape)
    return f"{entry.data_type} of shape ({shape}), or one number" if entry.shape else entry.data_type


def feed(reading: Reading, pictures: Tensor | None, others: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    """Return the inputs of a graph in order.

    Args:
        reading: How the inputs are filled.
        pictures: (batch, 3, height, width), RGB in [0, 1]; None for a model that reads none.
        others: The other inputs by name.
    """
    return tuple(
        preprocess(pictures, reading.preprocessing)
        if position == reading.picture and pictures is not None
        else others[entry.name]
        for position, entry in enumerate(reading.inputs)
    )


def tensor_of(value: Array, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a fitted value as a tensor; floating-point numbers in the type of the graph."""
    tensor = torch.from_numpy(np.array(value)).to(device)
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _picture_position(inputs: Sequence[TensorSpecification], source: ModelSource) -> int | None:
    """Return the input that the manifest names, else the first of floating-point numbers with four axes.

    Of several those come first whose channels are what the manifest says, and colours before gray: beside a picture
    there is often a mask. Whole numbers with four axes are a picture where nothing else is.
    """
    if source.picture_input:
        return _named_position(inputs, source.picture_input, source.reference.name)
    if inputs and not any(len(entry.shape) == 4 for entry in inputs):
        return None if inputs[0].shape else 0  # whose shape the file does not tell

    def order(position: int) -> tuple[bool, bool, bool]:
        entry = inputs[position]
        completed = _completed(source.preprocessing, source.left_open, entry.shape)
        return "float" not in entry.data_type, not _is_picture(entry.shape, completed), len(completed.mean) == 1

    four = [position for position, entry in enumerate(inputs) if len(entry.shape) == 4]
    return min(four, key=order, default=None)


def _named_position(inputs: Sequence[TensorSpecification], name: str, model: str) -> int:
    names = [entry.name for entry in inputs]
    if name not in names:
        detail = f"manifest field input.name: it has no input {name!r}; its inputs are {', '.join(names)}"
        raise ModelUnusable(model, detail)
    return names.index(name)


def _completed(
    preprocessing: Preprocessing, left_open: frozenset[OpenSetting], shape: tuple[int, ...]
) -> Preprocessing:
    """Take from the shape of the pictures' input what the manifest leaves open."""
    if len(shape) != 4:
        return preprocessing
    if "layout" in left_open:
        preprocessing = replace(preprocessing, layout=_layout(shape))
    if "channel_order" in left_open and shape[CHANNEL_AXES[preprocessing.layout]] == 1:
        mean, std = preprocessing.mean[:1], preprocessing.std[:1]
        preprocessing = replace(preprocessing, channel_order="gray", mean=mean, std=std)
    height, width = (shape[axis] for axis in SPATIAL_AXES[preprocessing.layout])
    if "size" in left_open and min(height, width) > 0:
        preprocessing = replace(preprocessing, size=ImageSize(height, width))
    return preprocessing


def _layout(shape: tuple[int, ...]) -> PictureLayout:
    """Return the layout of a shape: channels last where the last axis alone can be the colours."""
    return "nhwc" if shape[3] in (1, 3) and shape[1] not in (1, 3) else "nchw"


def _is_picture(shape: tuple[int, ...], preprocessing: Preprocessing) -> bool:
    if len(shape) != 4:
        return not shape
    return shape[CHANNEL_AXES[preprocessing.layout]] in (-1, len(preprocessing.mean))


def _refuse_contradiction(source: ModelSource, entry: TensorSpecification, preprocessing: Preprocessing) -> None:
    """Refuse a manifest that says of an input what the file denies; without one it is no input of pictures.

    Raises:
        ModelUnusable: the manifest names the input, or says how many channels it has.
    """
    if source.picture_input or ("channel_order" not in source.left_open and len(entry.shape) == 4):
        detail = (
            f"its manifest says that input {entry.name!r} reads {preprocessing.channel_order} pictures laid out as "
            f"{preprocessing.layout}, but the file declares the shape {list(entry.shape)}"
        )
        raise ModelUnusable(source.reference.name, detail)


def _defaults(reading: Reading, given: Sequence[NamedTensor], model: str) -> dict[str, Array]:
    positions = {entry.name: position for position, entry in reading.others.items()}
    shared = reading.shared()
    defaults: dict[str, Array] = {}
    for item in given:
        if item.name not in positions:
            known = ", ".join(positions) or "none"
            detail = f"manifest field other_inputs: it has no other input {item.name!r}; its other inputs are {known}"
            raise ModelUnusable(model, detail)
        position = positions[item.name]
        batched = position not in shared
        try:
            value = fitted(reading, position, item.value, reading.preprocessing.size, batched=batched)
            if batched and len(value) != 1:
                raise ValueError("one value for all pictures")
        except ValueError as error:
            came = f"numbers of shape {list(item.value.shape)}"
            detail = f"manifest field other_inputs.{item.name}: expected {error}, got {came}"
            raise ModelUnusable(model, detail) from error
        defaults[item.name] = item.value
    return defaults


def _converted(value: Array, entry: TensorSpecification) -> Array:
    """Return numbers in the type of an input; half-precision networks are computed in float32.

    Raises:
        ValueError: they would change; the message is what was expected.
    """
    exact = ("float" not in entry.data_type) and entry.data_type != "complex64"
    kind = np.dtype(entry.data_type if exact or entry.data_type == "float64" else "float32")
    with np.errstate(invalid="ignore"):
        converted = value.astype(kind)
    if exact and not np.array_equal(converted, value):
        raise ValueError(f"numbers that {entry.data_type} holds")
    return converted

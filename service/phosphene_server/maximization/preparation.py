"""Checks a request against its model, and completes it.

What the shape of a request allows was checked at the edge. Here stands what needs the model: names of layers, indices
within the layer's shape at the size asked for, classes; and the defaults that depend on it. The returned request, sent
again, gives the same pictures.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from phosphene_server.errors import InvalidArgument, LayerUnusable, NotFound, Unsupported, first_line, nearest_names
from phosphene_server.maximization.fixed_inputs import complete_fixed_inputs, other_inputs
from phosphene_server.maximization.transforms import make_chain
from phosphene_server.models.inputs import feed
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values import maximization as values
from phosphene_server.values.image import ImageFormat, ImageSize
from phosphene_server.values.maximization import MaximizeActivationRequest
from phosphene_server.values.model import NamedTensor

FRAME_STEPS = 16
"""Steps between frames where the request leaves it open."""
FRAME_FORMAT: ImageFormat = "webp"
RESULT_FORMAT: ImageFormat = "png"

Shape = tuple[int, ...]

MAXIMUM_EVALUATED = 1024
"""Layers at sizes that are remembered for a model."""

_EVALUATED: "WeakKeyDictionary[LoadedModel, dict[tuple[frozenset[str], ImageSize], Mapping[str, tuple[Shape, bool]]]]"
_EVALUATED = WeakKeyDictionary()


def prepare(model: LoadedModel, request: MaximizeActivationRequest) -> MaximizeActivationRequest:
    """Check a request against its model and fill in what is unset.

    Raises:
        InvalidArgument: a value is out of range for this model, or two fields contradict each other.
        NotFound: the model has no such layer or class; the error has the nearest names.
        LayerUnusable: the activation of the layer cannot be maximised.
        Unsupported: the model reads no pictures.
    """
    _check_input(model)
    paths = dict(_paths(request.objective, "objective"))
    size = request.size or model.model.preprocessing.size
    layers = {_layer_name(model, value, path): path for path, value in paths.items() if value.kind != "weighted_sum"}
    chain = make_chain(request.transforms)
    plain, seen = chain.plain_view(size).size, chain.view(size).size
    fixed = complete_fixed_inputs(model, request, seen)
    shapes = _shapes(model, layers, plain, seen, fixed)
    return replace(
        request,
        model=model.source.reference,
        objective=_prepared(model, shapes, request.objective, "objective"),
        size=size,
        fixed_inputs=fixed,
        seed=secrets.randbits(64) if request.seed is None else request.seed,
        frames=_prepared_frames(request.frames),
        result=replace(
            request.result,
            encoding=replace(request.result.encoding, format=request.result.encoding.format or RESULT_FORMAT),
        ),
    )


# The parts of a request that need no shapes


def _check_input(model: LoadedModel) -> None:
    inputs, picture = model.graph.inputs, model.graph.batching.picture
    if picture is None or len(inputs[picture].shape) not in (0, 4):
        shapes = ", ".join(f"{entry.name} {list(entry.shape)}" for entry in inputs)
        raise Unsupported(
            f"activation maximization of a model none of whose inputs is a batch of pictures, of 1 or 3 channels (its "
            f"inputs: {shapes})"
        )


def _prepared_frames(frames: values.FrameOptions) -> values.FrameOptions:
    unset = frames.every_steps is None and frames.interval is None
    return replace(
        frames,
        every_steps=FRAME_STEPS if unset else frames.every_steps,
        encoding=replace(frames.encoding, format=frames.encoding.format or FRAME_FORMAT),
    )


def _paths(objective: values.Objective, path: str) -> Iterator[tuple[str, values.Objective]]:
    """Walk through an objective: the path of each part, `objective.weighted_sum.terms[1].objective.channel`."""
    own = f"{path}.{objective.kind}"
    yield own, objective
    if objective.kind == "weighted_sum":
        for index, term in enumerate(objective.terms):
            yield from _paths(term.objective, f"{own}.terms[{index}].objective")


def _layer_name(model: LoadedModel, objective: Any, path: str) -> str:
    """Return the layer that an objective reads, known to exist."""
    if objective.kind == "class_logit":
        if not model.model.logits_layer:
            raise InvalidArgument(path, "a class", "an objective on a layer: the model tells no class logits")
        return model.model.logits_layer
    name: str = objective.layer
    model.graph.layer(name, field=f"{path}.layer")
    return name


# The shapes of the layers, and what must fit into them


def _shapes(
    model: LoadedModel, layers: Mapping[str, str], size: ImageSize, seen: ImageSize, fixed: Sequence[NamedTensor]
) -> dict[str, Shape]:
    """Return the shapes of layers, by name, for pictures of a size; `layers` has the path of each for errors.

    Args:
        model: The model.
        layers: The layers.
        size: The size of the pictures, at which the final ones are judged.
        seen: Their size with the margin of the transforms, at which the shapes are wanted.
        fixed: The other inputs.
    """
    for name, path in layers.items():
        if not model.graph.has_pictures(name):
            raise LayerUnusable(name, "has no activation of each picture", f"{path}.layer")
        if name in _without_gradient(model):
            detail = "has no gradient: rounding or a comparison cuts it off, or it does not depend on the picture"
            raise LayerUnusable(name, detail, f"{path}.layer")
    try:
        if fixed and seen != size:
            _evaluated(model, frozenset(layers), size, fixed)
        found = _evaluated(model, frozenset(layers), seen, fixed)
    except (RuntimeError, ValueError) as error:
        own = model.model.preprocessing.size
        beside = ", and that fits its other inputs" if fixed else ""
        expected = f"a size that the network can compute{beside}, such as its own, {own.height}x{own.width}"
        expected += f" ({_brief(error)})"
        raise InvalidArgument("size", f"{size.height}x{size.width}", expected) from error
    for name, (shape, reached) in found.items():
        if len(shape) < 2 or shape[0] != 2 or not reached:
            raise LayerUnusable(
                name, "has no activation of each picture that a gradient reaches", f"{layers[name]}.layer"
            )
    return {name: shape[1:] for name, (shape, _) in found.items()}


def _without_gradient(model: LoadedModel) -> set[str]:
    """Return the layers that cannot be maximized: an ascent would move nothing."""
    return {row.name for row in model.model.layers if not row.gradient_reaches_input}


def _evaluated(
    model: LoadedModel, layers: frozenset[str], size: ImageSize, fixed: Sequence[NamedTensor]
) -> Mapping[str, tuple[Shape, bool]]:
    """Return of layers the shape for two pictures of a size, and whether a gradient reaches them.

    Remembered for models without other inputs: whoever asks for hundreds of channels asks for hundreds of the same.
    """
    known = _EVALUATED.setdefault(model, {})
    if fixed:
        return _told(_activations(model, layers, size, fixed))
    if (layers, size) not in known:
        if len(known) >= MAXIMUM_EVALUATED:
            known.clear()
        known[layers, size] = _told(_activations(model, layers, size, fixed))
    return known[layers, size]


def _told(activations: Mapping[str, Tensor]) -> Mapping[str, tuple[Shape, bool]]:
    return {name: (tuple(activation.shape), activation.requires_grad) for name, activation in activations.items()}


def _activations(
    model: LoadedModel, layers: Iterable[str], size: ImageSize, fixed: Sequence[NamedTensor]
) -> dict[str, Tensor]:
    """Return the activations of layers for two gray pictures."""
    shape = (2, 3, size.height, size.width)
    pictures = torch.full(shape, 0.5, dtype=model.dtype, device=model.device, requires_grad=True)
    others = other_inputs(model, fixed, height=size.height, width=size.width, count=2)
    return model.graph.cut(layers)(*feed(model.reading, pictures, others))


def _brief(error: Exception) -> str:
    return first_line(error)[:200]


def _prepared(
    model: LoadedModel, shapes: Mapping[str, Shape], objective: values.Objective, path: str
) -> values.Objective:
    """Return an objective with positions and class indices filled in."""
    return _PREPARATIONS[objective.kind](model, shapes, objective, f"{path}.{objective.kind}")


def _prepared_channel(
    _: LoadedModel, shapes: Mapping[str, Shape], objective: values.ChannelObjective, path: str
) -> values.ChannelObjective:
    _check_index(objective.channel, shapes[objective.layer][0], f"{path}.channel", f"channel of {objective.layer!r}")
    return objective


def _prepared_neuron(
    _: LoadedModel, shapes: Mapping[str, Shape], objective: values.NeuronObjective, path: str
) -> values.NeuronObjective:
    shape, layer = shapes[objective.layer], objective.layer
    _check_index(objective.channel, shape[0], f"{path}.channel", f"channel of {layer!r}")
    if len(shape) == 1:
        _check_no_position(objective, path)
        return objective
    if len(shape) != 3:
        raise LayerUnusable(layer, f"has no rows and columns: its shape is {list(shape)}", f"{path}.layer")
    row = shape[1] // 2 if objective.row is None else objective.row
    column = shape[2] // 2 if objective.column is None else objective.column
    _check_index(row, shape[1], f"{path}.row", f"row of {layer!r} at this picture size")
    _check_index(column, shape[2], f"{path}.column", f"column of {layer!r} at this picture size")
    return replace(objective, row=row, column=column)


def _check_no_position(objective: values.NeuronObjective, path: str) -> None:
    for name, position in (("row", objective.row), ("column", objective.column)):
        if position is not None:
            expected = f"nothing: layer {objective.layer!r} has features without a position"
            raise InvalidArgument(f"{path}.{name}", str(position), expected)


def _prepared_layer(
    _: LoadedModel, __: Mapping[str, Shape], objective: values.LayerObjective, ___: str
) -> values.LayerObjective:
    return objective


def _prepared_class_logit(
    model: LoadedModel, shapes: Mapping[str, Shape], objective: values.ClassLogitObjective, path: str
) -> values.ClassLogitObjective:
    if objective.label is not None:
        return values.ClassLogitObjective(index=_class_index(model, objective.label, f"{path}.label"))
    assert objective.index is not None
    _check_index(objective.index, shapes[model.model.logits_layer][0], f"{path}.index", "class")
    return objective


def _class_index(model: LoadedModel, label: str, path: str) -> int:
    """Return the class with a label: the whole of it first, then one of its synonyms; capitals do not matter."""
    labels = model.model.labels
    wanted = label.strip().lower()
    for index, known in enumerate(labels):
        if known.lower() == wanted:
            return index
    synonyms = [(synonym.strip(), index) for index, known in enumerate(labels) for synonym in known.split(",")]
    for synonym, index in synonyms:
        if synonym.lower() == wanted:
            return index
    raise NotFound("class", label, nearest_names(label, [synonym for synonym, _ in synonyms]), path)


def _prepared_weighted_sum(
    model: LoadedModel, shapes: Mapping[str, Shape], objective: values.WeightedSumObjective, path: str
) -> values.WeightedSumObjective:
    terms = tuple(
        replace(term, objective=_prepared(model, shapes, term.objective, f"{path}.terms[{index}].objective"))
        for index, term in enumerate(objective.terms)
    )
    return replace(objective, terms=terms)


def _check_index(index: int, count: int, path: str, what: str) -> None:
    if not 0 <= index < count:
        raise InvalidArgument(path, str(index), f"a {what}, 0 to {count - 1}")


_PREPARATIONS: Mapping[str, Callable[[LoadedModel, Mapping[str, Shape], Any, str], values.Objective]] = {
    "channel": _prepared_channel,
    "neuron": _prepared_neuron,
    "layer": _prepared_layer,
    "class_logit": _prepared_class_logit,
    "weighted_sum": _prepared_weighted_sum,
}

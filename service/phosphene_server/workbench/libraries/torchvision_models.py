"""Models of torchvision."""

from typing import Any

import torchvision
from torch import nn
from torchvision.models import get_model_builder, get_model_weights, list_models

from phosphene_server.errors import InvalidArgument, ModelUnusable, NotFound, Unsupported, nearest_names
from phosphene_server.workbench.libraries.library_model import RANDOM, LibraryModel

IDENTITY = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Mean and standard deviation of networks that normalize pictures themselves, as those for detection do."""

LICENCE = "BSD-3-Clause (torchvision's code); weights and data sets may have terms of their own"


def torchvision_model(name: str, weights: str) -> LibraryModel:
    """Build a model of torchvision.

    Args:
        name: As in `torchvision.models.list_models()`.
        weights: `DEFAULT`, a name of the model's weights such as `IMAGENET1K_V1`, or `none` for random ones.

    Raises:
        NotFound: torchvision has no such model.
        InvalidArgument: the model has no such weights.
        Unsupported: it does not read pictures, or it is quantized.
        ModelUnusable: the weights could not be downloaded.
    """
    known = list_models()
    if name not in known:
        raise NotFound("model of torchvision", name, nearest_names(name, known))
    if name.startswith("quantized_"):
        raise Unsupported("a quantized network of torchvision, which no exporter writes,")
    choices = get_model_weights(name)
    chosen = _chosen(name, choices, weights)
    described: Any = chosen if chosen is not None else choices.DEFAULT
    transforms = described.transforms()
    size, (mean, std) = _size(name, transforms, described), _normalization(transforms)
    detail = f"weights {chosen.name}." if chosen is not None else RANDOM
    return LibraryModel(
        module=_build(name, chosen),
        size=size,
        mean=mean,
        std=std,
        labels=tuple(described.meta.get("categories", ())) if chosen is not None else (),
        description=f"{name} of torchvision {torchvision.__version__}; {detail}",
        source=str(described.url) if chosen is not None else str(described.meta.get("recipe", "")),
        licence=LICENCE,
    )


def _chosen(name: str, choices: Any, weights: str) -> Any:
    """Return the member of a model's enum of weights; None for random ones."""
    if weights.lower() == "none":
        return None
    members = {member.name: member for member in choices}
    if weights.upper() == "DEFAULT" and members:
        return choices.DEFAULT
    if weights not in members:
        raise InvalidArgument("--weights", repr(weights), f"DEFAULT, none, or weights of {name}: {', '.join(members)}")
    return members[weights]


def _build(name: str, chosen: Any) -> nn.Module:
    try:
        # Nothing of a classifier's backbone is to be downloaded where the weights are random.
        options = {"weights_backbone": None} if chosen is None and _has_backbone(name) else {}
        module: nn.Module = get_model_builder(name)(weights=chosen, **options)
    except OSError as error:  # URLError is one
        detail = (
            f"its weights could not be downloaded from {chosen.url if chosen else 'torchvision'} ({error}); put the "
            "file into the folder checkpoints of torch.hub.get_dir(), or ask for random weights with --weights none"
        )
        raise ModelUnusable(f"torchvision:{name}", detail) from error
    return module.eval()


def _has_backbone(name: str) -> bool:
    return get_model_builder(name).__module__.split(".")[-2] in {"segmentation", "detection"}


def _size(name: str, transforms: Any, described: Any) -> tuple[int, int]:
    """Return the size that pictures are cropped to, or brought to, or that the network takes at least."""
    kind = type(transforms).__name__
    if kind not in {"ImageClassification", "SemanticSegmentation", "ObjectDetection"}:
        raise Unsupported(f"torchvision:{name}, which reads no single pictures ({kind}),")
    sides = getattr(transforms, "crop_size", None) or getattr(transforms, "resize_size", None)
    smallest = described.meta.get("min_size", (320, 320))
    sides = sides or [max(side, 320) for side in smallest]
    return (sides[0], sides[-1])


def _normalization(transforms: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = getattr(transforms, "mean", None), getattr(transforms, "std", None)
    return (tuple(mean), tuple(std)) if mean and std else IDENTITY

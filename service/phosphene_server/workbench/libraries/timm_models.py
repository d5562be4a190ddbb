"""Models of timm, which is installed by the extra `export`."""

from typing import Any

from torch import nn

from phosphene_server.errors import InvalidArgument, ModelUnusable, NotFound, Unsupported, nearest_names
from phosphene_server.workbench.libraries.library_model import RANDOM, LibraryModel

try:
    import timm
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
except ImportError:  # an optional dependency
    timm = None  # type: ignore[assignment]  # looked at before every use


def timm_model(name: str, weights: str) -> LibraryModel:
    """Build a model of timm.

    Args:
        name: As in `timm.list_models()`, with or without the tag of its weights: `resnet18`, `resnet18.a1_in1k`.
        weights: `DEFAULT`, a tag such as `a1_in1k`, or `none` for random ones.

    Raises:
        Unsupported: timm is not installed.
        NotFound: timm has no such model.
        InvalidArgument: the model has no such weights.
        ModelUnusable: the weights could not be downloaded.
    """
    if timm is None:
        raise Unsupported("a model of timm, which is not installed (pip install 'phosphene[export]'),")
    architecture, _, own_tag = name.partition(".")
    if architecture not in timm.list_models():
        raise NotFound("model of timm", architecture, nearest_names(architecture, timm.list_models()))
    trained = weights.lower() != "none"
    tag = own_tag if weights.upper() == "DEFAULT" or not trained else weights
    module = _build(architecture, tag if trained else "", trained)
    described: Any = module.pretrained_cfg
    detail = f"weights {described.get('tag') or 'default'}." if trained else RANDOM
    return LibraryModel(
        module=module,
        size=(described["input_size"][1], described["input_size"][2]),
        mean=tuple(described["mean"]),
        std=tuple(described["std"]),
        labels=_labels(module) if trained else (),
        description=f"{architecture} of timm {timm.__version__}; {detail}",
        source=_source(described) if trained else "",
        licence=str(described.get("license") or "") if trained else "",
    )


def _build(architecture: str, tag: str, trained: bool) -> Any:
    full = f"{architecture}.{tag}" if tag else architecture
    if tag and full not in timm.list_pretrained(f"{architecture}.*"):
        tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{architecture}.*")]
        raise InvalidArgument("--weights", repr(tag), f"DEFAULT, none, or weights of {architecture}: {', '.join(tags)}")
    try:
        module: nn.Module = timm.create_model(full, pretrained=trained)
    except Exception as error:  # of the hub, of its connections, or of timm where there are no weights
        if not trained:
            raise
        lines = str(error).strip().splitlines()
        detail = (
            f"its weights could not be loaded ({lines[0] if lines else type(error).__name__}); "
            "ask for random weights with --weights none"
        )
        raise ModelUnusable(f"timm:{full}", detail) from error
    return module.eval()


def _labels(module: Any) -> tuple[str, ...]:
    """Return the class names of a network that was trained on ImageNet or a part of it that timm knows."""
    subset = infer_imagenet_subset(module)
    if not subset:
        return ()
    information: Any = ImageNetInfo(subset)
    return tuple(information.index_to_description(index) for index in range(information.num_classes()))


def _source(described: Any) -> str:
    hub = described.get("hf_hub_id")
    return f"https://huggingface.co/{hub}" if hub else str(described.get("url") or "")

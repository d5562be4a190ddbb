"""The manifest: the YAML file beside a model that says what the file cannot."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from annotated_types import Ge, Gt, MaxLen, MinLen
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from phosphene_server.errors import DamagedModel
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import ChannelOrder, Preprocessing

FILE_NAME = "manifest.yaml"

Number = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class InputManifest:
    """How a picture becomes the input of the model.

    Without a manifest the input is taken for RGB in [0, 1] with the mean and standard deviation of ImageNet, which is
    what most networks of torchvision and timm read.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    size: tuple[Annotated[int, Ge(8)], Annotated[int, Ge(8)]] | None = None
    """Height and width, in pixels; None: what the file says, or 224 by 224."""
    fixed_size: bool = False
    """Whether the network takes that size alone."""
    channel_order: ChannelOrder = "rgb"
    range: tuple[Number, Number] = (0.0, 1.0)
    """The values of black and white before the mean is subtracted."""
    mean: Annotated[tuple[Number, ...], MinLen(1), MaxLen(3)] = (0.485, 0.456, 0.406)
    std: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1), MaxLen(3)] = (0.229, 0.224, 0.225)

    def preprocessing(self) -> Preprocessing:
        """Return these settings as the value that the rest of the service uses."""
        height, width = self.size or (224, 224)
        channels = 1 if self.channel_order == "gray" else 3
        return Preprocessing(
            channel_order=self.channel_order,
            low=self.range[0],
            high=self.range[1],
            mean=self.mean if len(self.mean) == channels else self.mean[:1] * channels,
            std=self.std if len(self.std) == channels else self.std[:1] * channels,
            size=ImageSize(height, width),
            fixed_size=self.fixed_size,
        )


@dataclass(frozen=True)
class Manifest:
    """What the operator says of a model. Every field may be left out."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str = ""
    version: str = ""
    description: str = ""
    source: str = ""
    licence: str = ""
    trusted: bool = False
    """Whether TorchScript and torch.export files, which are programs, may be loaded."""
    input: InputManifest = field(default_factory=InputManifest)
    labels: str | tuple[str, ...] = ()
    """The class names in order, or the name of a file beside the manifest with one in each line."""
    logits: str = ""
    """The layer that holds the class logits; empty: the output, or what a final softmax reads."""
    sha256: dict[str, str] = field(default_factory=dict)
    """File name -> digest. A file that is listed and differs is refused."""


_ADAPTER = TypeAdapter(Manifest)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a version folder; an empty one where there is none.

    Raises:
        DamagedModel: it is no YAML, or a field is wrong; the error names the field.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return Manifest()
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DamagedModel(_name(folder), f"manifest field {place}: {first['msg']}, got {first['input']!r}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DamagedModel(_name(folder), f"manifest is not valid YAML: {error}") from error


def read_labels(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """Return the class names that a manifest gives, in order.

    Raises:
        DamagedModel: the manifest names a file that is not beside it.
    """
    if not isinstance(manifest.labels, str):
        return manifest.labels
    path = folder / manifest.labels
    if path.parent != folder or not path.is_file():
        raise DamagedModel(_name(folder), f"labels: no file {manifest.labels!r} beside the manifest")
    return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"

"""The manifest: the YAML file beside a model that says what the file cannot."""

import reprlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import yaml
from annotated_types import Ge, Gt, MaxLen, MinLen
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from phosphene_server.errors import DamagedModel
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import ChannelOrder, NamedTensor, PictureLayout, Preprocessing
from phosphene_server.values.work import OpenSetting

FILE_NAME = "manifest.yaml"

MAXIMUM_BYTES = 2**20
"""A manifest with the thousand labels of ImageNet has some 20 KB."""

Number = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class InputManifest:
    """How a picture becomes the input of the model.

    Without a manifest the input is taken for RGB in [0, 1] with the mean and standard deviation of ImageNet, which is
    what most networks of torchvision and timm read.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str = ""
    """The input that reads pictures; empty: the first of floating-point numbers with four axes."""
    size: tuple[Annotated[int, Ge(8)], Annotated[int, Ge(8)]] | None = None
    """Height and width, in pixels; None: what the file says, or 224 by 224."""
    fixed_size: bool = False
    """Whether the network takes that size alone."""
    channel_order: ChannelOrder | None = None
    """None: gray where the file says that there is one channel, otherwise rgb."""
    layout: PictureLayout | None = None
    """`nchw`, the channels before height and width, or `nhwc`, after them; None: as the file's shape looks."""
    range: tuple[Number, Number] = (0.0, 1.0)
    """The values of black and white before the mean is subtracted."""
    mean: Annotated[tuple[Number, ...], MinLen(1), MaxLen(3)] = (0.485, 0.456, 0.406)
    std: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1), MaxLen(3)] = (0.229, 0.224, 0.225)

    def preprocessing(self) -> Preprocessing:
        """Return these settings as the value that the rest of the service uses."""
        height, width = self.size or (224, 224)
        channels = 1 if self.channel_order == "gray" else 3
        return Preprocessing(
            channel_order=self.channel_order or "rgb",
            low=self.range[0],
            high=self.range[1],
            mean=self.mean if len(self.mean) == channels else self.mean[:1] * channels,
            std=self.std if len(self.std) == channels else self.std[:1] * channels,
            size=ImageSize(height, width),
            fixed_size=self.fixed_size,
            layout=self.layout or "nchw",
        )

    def left_open(self) -> frozenset[OpenSetting]:
        """Return the settings that the file decides, as far as it says anything."""
        said: dict[OpenSetting, object] = {
            "size": self.size,
            "channel_order": self.channel_order,
            "layout": self.layout,
        }
        return frozenset(setting for setting, value in said.items() if value is None)


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
    other_inputs: dict[str, Any] = field(default_factory=dict)
    """What the inputs that are no picture get: for each a number, or nested lists of numbers."""
    labels: str | tuple[str, ...] = ()
    """The class names in order, or the name of a file beside the manifest with one in each line."""
    logits: str = ""
    """The layer that holds the class logits; empty: the output, or what a final softmax reads."""
    sha256: dict[str, str] = field(default_factory=dict)
    """File name -> digest. A file that is listed and differs is refused."""


_ADAPTER = TypeAdapter(Manifest)


class _Loader(yaml.SafeLoader):
    """Reads YAML without aliases, with which a few lines can stand for more than fits into memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not read", None)
        return super().compose_node(parent, index)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a version folder; an empty one where there is none.

    Raises:
        DamagedModel: it is no YAML, or a field is wrong; the error names the field.
    """
    path = folder / FILE_NAME
    return parse_manifest(path, name=_name(folder)) if path.exists() else Manifest()


def parse_manifest(path: Path, *, name: str) -> Manifest:
    """Read a manifest.

    Args:
        path: The YAML file.
        name: What errors call the model.

    Raises:
        DamagedModel: it is no YAML, or a field is wrong; the error names the field.
    """
    try:
        if path.stat().st_size > MAXIMUM_BYTES:
            raise DamagedModel(name, f"the manifest has {path.stat().st_size} bytes; at most {MAXIMUM_BYTES} are read")
        content: Any = yaml.load(path.read_text(encoding="utf-8"), _Loader) or {}
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DamagedModel(
            name, f"manifest field {place}: {first['msg']}, got {reprlib.repr(first['input'])}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedModel(name, f"manifest is not valid YAML: {error}") from error


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


def read_other_inputs(folder: Path, manifest: Manifest) -> tuple[NamedTensor, ...]:
    """Return what a manifest gives the inputs that are no picture.

    Raises:
        DamagedModel: a value is neither a number nor nested lists of numbers of one shape.
    """
    return tuple(NamedTensor(name, _array(folder, name, value)) for name, value in manifest.other_inputs.items())


def _array(folder: Path, name: str, value: Any) -> NDArray[np.generic]:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        got = reprlib.repr(value)
        detail = f"manifest field other_inputs.{name}: expected a number or nested lists of numbers, got {got}"
        raise DamagedModel(_name(folder), detail)
    return array


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"

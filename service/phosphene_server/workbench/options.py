"""The options of a manifest: texts of a command line -> the fields of manifest.yaml."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from phosphene_server.errors import InvalidArgument
from phosphene_server.models.manifest import parse_manifest, read_labels
from phosphene_server.values.expectation import shown

CHANNEL_ORDERS = ("rgb", "bgr", "gray")
SMALLEST_SIDE = 8
"""Of a picture, in pixels; as in the manifest."""

Parse = Callable[[str, str], Any]
"""Takes the option and its text."""


def manifest_of(
    path: Path | None, given: Mapping[str, str | None], *, name: str, trusted: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a manifest without digests and labels, and the labels of the file that it starts from.

    Args:
        path: A manifest to start from; None: an empty one.
        given: The options' texts, None for what was not given; they go before what the file says.
        name: The name of the model, for errors.
        trusted: Whether the operator vouches for the file.

    Raises:
        InvalidArgument: an option is wrong; `field` is its name.
        DamagedModel: the file is no manifest; the error names the field.
    """
    manifest: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    if path is not None:
        if not path.is_file():
            raise InvalidArgument("--manifest", shown(str(path)), "a file")
        labels = read_labels(path.parent, parse_manifest(path, name=name))
        manifest = dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    own = {key: value for key, value in manifest.items() if key not in {"labels", "sha256", "input"}}
    reads = dict(manifest.get("input") or {})
    for option, text in given.items():
        if text is not None:
            section, key, parse = MANIFEST_OPTIONS[option]
            (reads if section == "input" else own)[key] = parse(option, text)
    _check_channels(reads)
    return {**own, **({"trusted": True} if trusted else {}), **({"input": reads} if reads else {})}, labels


def labels_of(text: str | None) -> tuple[str, ...]:
    """Return class names in order: the lines of a file, or names separated by commas.

    Raises:
        InvalidArgument: neither; a single word without a comma is taken for a file.
    """
    if text is None:
        return ()
    if "," in text and not Path(text).exists():
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        lines = Path(text).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument("--labels", shown(text), "a text file with a name in each line, or a,b,c") from error
    return tuple(line.strip() for line in lines if line.strip())


def _text(option: str, text: str) -> str:
    return text


def _channel_order(option: str, text: str) -> str:
    if text not in CHANNEL_ORDERS:
        raise InvalidArgument(option, shown(text), f"one of {', '.join(CHANNEL_ORDERS)}")
    return text


def _numbers(option: str, text: str) -> list[float]:
    """Return the numbers of `0.5` or `0.485,0.456,0.406`."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise InvalidArgument(option, shown(text), "one number, or three with commas between, such as 0.5,0.5,0.5")
    return numbers


def _positive_numbers(option: str, text: str) -> list[float]:
    numbers = _numbers(option, text)
    if min(numbers) <= 0:
        raise InvalidArgument(option, shown(text), "numbers above 0")
    return numbers


def _range(option: str, text: str) -> list[float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low != high):
        raise InvalidArgument(option, shown(text), "the values of black and white, such as 0,255")
    return [low, high]


def _size(option: str, text: str) -> list[int]:
    """Return height and width of `224` or `224x320`."""
    try:
        sides = [int(part) for part in text.lower().split("x")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2) or min(sides) < SMALLEST_SIDE:
        expected = f"pixels such as 224, or HEIGHTxWIDTH such as 224x320, of at least {SMALLEST_SIDE}"
        raise InvalidArgument(option, shown(text), expected)
    return [sides[0], sides[-1]]


MANIFEST_OPTIONS: Mapping[str, tuple[str, str, Parse]] = {
    "--description": ("", "description", _text),
    "--source": ("", "source", _text),
    "--licence": ("", "licence", _text),
    "--logits": ("", "logits", _text),
    "--size": ("input", "size", _size),
    "--channel-order": ("input", "channel_order", _channel_order),
    "--range": ("input", "range", _range),
    "--mean": ("input", "mean", _numbers),
    "--std": ("input", "std", _positive_numbers),
}
"""Each option, the section and the field of the manifest that it fills, and how its text is read."""


def _check_channels(reads: Mapping[str, Any]) -> None:
    """Compare the numbers of channels with the order: three of them, or one for gray or for all alike."""
    if reads.get("channel_order") != "gray":
        return
    for key in ("mean", "std"):
        if len(reads.get(key, ())) > 1:
            raise InvalidArgument(
                f"--{key}", f"{len(reads[key])} numbers", "one number, as a gray picture has one channel"
            )

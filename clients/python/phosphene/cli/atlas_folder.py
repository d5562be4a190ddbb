"""The folder of an atlas: the pictures, and what is known of each, so that an interrupted atlas can go on.

atlas.json      the settings, and of each picture its objective
pictures/       0007.png is that of channel 7
sheet.png       all of them
index.html      the page
"""

import hashlib
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import typer
from PIL import Image

from phosphene.cli.panels import numbered_sheet
from phosphene.layers import ContactSheet, LayerFailure, LayerPicture, LayerSettings, LayerWarning
from phosphene.pictures import decode

_SAVE_SECONDS = 1.0
"""How often the list of pictures is written while they come; at most these are drawn again after a crash."""
_SHEET_PIXELS = 16_000_000
"""The largest sheet; its margins and numbers take less than half of it."""
_SHEET_TILE = 128
_DECIDING = (
    "layer",
    "target",
    "steps",
    "size",
    "seed",
    "parameterization",
    "transforms",
    "penalties",
    "optimizer",
    "stop_rules",
    "precision",
)


class AtlasFolder:
    """What there is of an atlas. As a context manager it writes its list at the end, whatever that is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved = 0.0
        self._sheet: tuple[int, ...] = ()
        self.settings: dict[str, str] = {}
        self.seed: int | None = None
        """What the pictures that are there were drawn with; None in a new folder."""
        self.pictures: dict[int, dict[str, Any]] = {}
        """Of each channel that has a picture: its objective, step and stop_reason."""
        self.warnings: dict[int, str] = {}
        """What the server warned of, by channel."""
        self.failures: dict[int, str] = {}
        self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._save()

    def file(self, channel: int) -> Path:
        """Where the picture of a channel is."""
        return self.path / "pictures" / f"{channel:04d}.png"

    def missing(self, channels: Sequence[int]) -> tuple[int, ...]:
        """The channels that have no picture yet."""
        return tuple(channel for channel in channels if channel not in self.pictures)

    def adopt(self, settings: LayerSettings, *, sha256: str) -> None:
        """Take the settings of all pictures.

        Raises:
            typer.BadParameter: those that are there were drawn with other ones.
        """
        wanted = _described(settings, sha256)
        for name, value in wanted.items():
            if self.pictures and self.settings.get(name) != value:
                there = f"{self.path} has pictures with {name} {self.settings.get(name)}, not {value}"
                raise typer.BadParameter(f"{there}; choose another folder", param_hint="--out")
        self.settings, self.seed = wanted, settings.seed
        (self.path / "pictures").mkdir(parents=True, exist_ok=True)

    def keep(self, picture: LayerPicture) -> None:
        """Write a picture."""
        self.file(picture.channel).write_bytes(picture.encoded)
        facts = {"objective": picture.objective, "step": picture.step, "stop_reason": picture.stop_reason}
        self.pictures[picture.channel] = facts
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self._save()

    def note_failure(self, failure: LayerFailure) -> None:
        """Note a channel that has no picture."""
        self.failures[failure.channel] = failure.message

    def note_warning(self, warning: LayerWarning) -> None:
        """Note what is wrong with the picture of a channel; a worker that was restarted has changed nothing in it."""
        if warning.reason != "WORKER_RESTARTED":
            self.warnings[warning.channel] = warning.message

    def keep_sheet(self, sheet: ContactSheet) -> None:
        """Write the sheet that the server has drawn."""
        (self.path / "sheet.png").write_bytes(sheet.encoded)
        self._sheet = sheet.channels

    def sheet_shows(self, channels: Sequence[int]) -> bool:
        """Whether the server's sheet shows just these."""
        return self._sheet == tuple(channels)

    def draw_sheet(self, channels: Sequence[int], *, columns: int | None) -> None:
        """Draw a sheet of pictures that are there, for an atlas that was not drawn in one go."""
        across = min(columns or math.ceil(math.sqrt(len(channels))), len(channels))
        cells = across * math.ceil(len(channels) / across)
        side = min(_SHEET_TILE, math.isqrt(_SHEET_PIXELS // (2 * cells)), max(self._picture(channels[0]).size))
        pictures = map(self._picture, channels)  # all of them at their own size may not fit into memory
        numbered_sheet(pictures, channels, columns=across, side=side).save(self.path / "sheet.png")

    def _picture(self, channel: int) -> Image.Image:
        return decode(self.file(channel).read_bytes())

    def _read(self) -> None:
        try:
            self._take(json.loads((self.path / "atlas.json").read_text(encoding="utf-8")))
        except FileNotFoundError:
            return
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise typer.BadParameter(
                f"{self.path / 'atlas.json'} cannot be read: {error}; choose another folder", param_hint="--out"
            ) from error

    def _take(self, known: dict[str, Any]) -> None:
        """Take what was known, of the pictures that are still there."""
        self.settings, self.seed = dict(known["settings"]), known["seed"]
        for channel, facts in known["pictures"].items():
            if self.file(int(channel)).is_file():
                self.pictures[int(channel)] = {**facts, "objective": float(facts["objective"])}
        warnings = known.get("warnings", {})
        self.warnings = {channel: str(warnings[str(channel)]) for channel in self.pictures if str(channel) in warnings}

    def _save(self) -> None:
        """Write the list, whole or not at all."""
        self._saved = time.monotonic()
        pictures, warnings = dict(sorted(self.pictures.items())), dict(sorted(self.warnings.items()))
        known = {"settings": self.settings, "seed": self.seed, "pictures": pictures, "warnings": warnings}
        fresh = self.path / "atlas.json.new"
        fresh.write_text(json.dumps(known, indent=1), encoding="utf-8")
        fresh.replace(self.path / "atlas.json")


def _described(settings: LayerSettings, sha256: str) -> dict[str, str]:
    """What decides how the picture of a channel comes out, by name, as text that can be compared and read."""
    model = f"{settings.model.name} {settings.model.version or ''} {settings.model.format or ''}".strip()
    inputs = b"".join(name.encode() + value.tobytes() for name, value in sorted(settings.fixed_inputs.items()))
    return {
        "model": model,
        "model_sha256": sha256,
        **{name: str(getattr(settings, name)) for name in _DECIDING},
        "fixed_inputs": hashlib.sha256(inputs).hexdigest() if inputs else "none",
    }

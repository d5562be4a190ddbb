"""What is measured: cases, which cross the line to a contender's process as JSON. No torch here."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from phosphene import objectives, transforms
from phosphene_server.values import maximization as values
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import ModelReference

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = ROOT / "build" / "speed" / "models"
"""The model repository of the service that is measured; `speed_network.py` writes it."""

MODEL = "googlenet"
CHANNEL = 0
SEED = 0
ENDLESS = 100_000
"""The most steps that a request may ask for: jobs that are ended by whoever has seen enough."""


@dataclass(frozen=True)
class Case:
    """Pictures that go up together. Sides are in pixels."""

    layer: str = "inception4a"
    pictures: int = 1
    parameter: int = 128
    shown: int = 224
    precision: Literal["float32", "bfloat16"] = "float32"
    separate: bool = False
    """Whether each picture is a job of its own, as those of several callers are; otherwise all are one job."""
    fresh: bool = False
    """Whether each run begins new jobs, so that their first steps are measured."""


def requests(case: Case) -> list[values.MaximizeActivationRequest]:
    """Return what Phosphene is asked in process: the default transforms, then the size that is shown."""
    shown = values.ResizeTransform(ImageSize(case.shown, case.shown))
    request = values.MaximizeActivationRequest(
        model=ModelReference(MODEL),
        objective=values.ChannelObjective(case.layer, CHANNEL),
        steps=ENDLESS,
        size=ImageSize(case.parameter, case.parameter),
        pictures=1 if case.separate else case.pictures,
        seed=SEED,
        transforms=values.Transforms(
            values.DEFAULT_TRANSFORMS.items + ((shown,) if case.shown != case.parameter else ())
        ),
        precision=case.precision,
    )
    return [request] * (case.pictures if case.separate else 1)


def arguments(case: Case) -> dict[str, Any]:
    """Return the same for `Client.maximize`, without a number of steps."""
    shown = transforms.resize(height=case.shown, width=case.shown)
    return {
        "model": MODEL,
        "objective": objectives.channel(case.layer, CHANNEL),
        "size": (case.parameter, case.parameter),
        "pictures": case.pictures,
        "seed": SEED,
        "transforms": [*_default_transforms(), *([shown] if case.shown != case.parameter else [])],
        "precision": case.precision,
    }


def _default_transforms() -> list[transforms.Transform]:
    """Return the default transforms as the SDK names them: a caller has them whole or writes them down."""
    chosen = []
    for item in values.DEFAULT_TRANSFORMS.items:
        kind = getattr(transforms, type(item).__name__.removesuffix("Transform"))
        chosen.append(kind(**{field.name: getattr(item, field.name) for field in fields(kind)}))
    return chosen

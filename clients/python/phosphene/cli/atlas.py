"""`phosphene atlas`: a picture of every channel of a layer, a sheet of them, and a page."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from phosphene.cli.ascent_options import (
    FixedInputs,
    LearningRate,
    Parameterization,
    ParameterizationName,
    Precision,
    Priority,
    Size,
    Steps,
    Transforms,
    chosen_parameterization,
    chosen_precision,
)
from phosphene.cli.atlas_folder import AtlasFolder
from phosphene.cli.atlas_page import write_page
from phosphene.cli.atlas_view import AtlasView, atlas_view
from phosphene.cli.connections import ModelRepository, Server, open_client
from phosphene.cli.consoles import output
from phosphene.cli.numbers import named_values, number_ranges, picture_size
from phosphene.client import LayerRun
from phosphene.errors import PhospheneError
from phosphene.layers import (
    ContactSheet,
    LayerEvent,
    LayerFailure,
    LayerPicture,
    LayerProgress,
    LayerResult,
    LayerWarning,
)
from phosphene.models import Model

INTERRUPTED = 130
"""The status of a command that was ended by Ctrl-C, as shells have it."""


class Target(StrEnum):
    """What is maximized of each channel."""

    CHANNEL = "channel"
    NEURON = "neuron"


def atlas(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model, for example [bold]shapes[/bold].")],
    layer: Annotated[
        str, typer.Argument(metavar="LAYER", help="The layer, as [bold]phosphene models show MODEL[/bold] lists it.")
    ],
    channels: Annotated[
        str, typer.Option(metavar="0-31,40", help="The channels, 0-based.", show_default="all of the layer")
    ] = "",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FOLDER",
            help="Where the pictures, the sheet and the page go. A folder that holds some of the pictures already is "
            "completed.",
            show_default="atlas-MODEL-LAYER",
        ),
    ] = None,
    steps: Steps = None,
    size: Size = "",
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same pictures.", show_default="random, or the folder's")
    ] = None,
    target: Annotated[
        Target, typer.Option(help="What is maximized of each channel: its mean, or the neuron at its centre.")
    ] = Target.CHANNEL,
    parameterization: Parameterization = ParameterizationName.FOURIER,
    transforms: Transforms = True,
    learning_rate: LearningRate = None,
    priority: Priority = None,
    precision: Precision = None,
    fixed_inputs: FixedInputs = None,
    columns: Annotated[
        int | None, typer.Option(min=1, help="Pictures in a row of the sheet.", show_default="a square")
    ] = None,
    server: Server = None,
    model_repository: ModelRepository = None,
) -> None:
    """Draw what every channel of a layer looks for: each picture, a sheet of them all, and a page to look through them.

    Interrupting (Ctrl-C) keeps the pictures that are finished; the same command goes on with the missing ones.

    Example: [bold]phosphene atlas shapes conv2 --channels 0-15 --size 96[/bold]
    """
    wanted = number_ranges(channels, option="--channels")
    parsed_size, parsed_inputs = picture_size(size, option="--size"), named_values(fixed_inputs or (), option="--input")
    place = AtlasFolder(folder or Path(f"atlas-{model}-{layer}".replace("/", "_")))
    with open_client(server, model_repository) as client:
        described = client.model(model)
        wanted = wanted or tuple(range(described.layer(layer).shape[0]))
        missing = place.missing(wanted)
        with client.maximize_layer(
            model,
            layer,
            # Also where nothing is missing: the settings that the server tells show whether it is the same atlas.
            missing or wanted[:1],
            target=target.value,
            steps=steps,
            size=parsed_size,
            seed=place.seed if seed is None else seed,
            parameterization=chosen_parameterization(parameterization),
            transforms=None if transforms else (),
            learning_rate=learning_rate,
            fixed_inputs=parsed_inputs,
            priority=priority,
            precision=chosen_precision(precision),
            sheet_columns=columns,
        ) as run:
            place.adopt(run.settings, sha256=described.sha256)
            ending = _draw(run, place, wanted) if missing else None
    _write_up(place, wanted, described, columns)
    if isinstance(ending, KeyboardInterrupt):
        raise typer.Exit(INTERRUPTED)
    if ending is not None:
        raise ending


def _draw(run: LayerRun, place: AtlasFolder, wanted: Sequence[int]) -> KeyboardInterrupt | PhospheneError | None:
    """Keep every picture as it comes; returns what has ended it early."""
    try:
        with place, atlas_view(run.settings.layer, wanted, run.settings.channels) as view:
            for event in run.events():
                _take(event, place, view)
    except (KeyboardInterrupt, PhospheneError) as error:
        return error
    return None


def _take(event: LayerEvent, place: AtlasFolder, view: AtlasView) -> None:
    match event:
        case LayerProgress():
            view.progressed(event)
        case LayerPicture():
            place.keep(event)
            view.finished(event)
        case LayerFailure():
            place.note_failure(event)
            view.failed(event)
        case LayerWarning():
            place.note_warning(event)
            view.warned(event)
        case LayerResult(sheet=ContactSheet() as sheet):
            place.keep_sheet(sheet)


def _write_up(place: AtlasFolder, wanted: Sequence[int], model: Model, columns: int | None) -> None:
    """Write the sheet, where the server's does not show them all, and the page, and tell where they are."""
    shown = [channel for channel in wanted if channel in place.pictures]
    if shown and not place.sheet_shows(shown):
        place.draw_sheet(shown, columns=columns)
    page = write_page(place, shown, wanted, model)
    missing = len(wanted) - len(shown)
    rest = f", {missing} missing: the same command goes on with them" if missing else ""
    output().print(f"{page}: {len(shown)} of {len(wanted)} pictures{rest}")

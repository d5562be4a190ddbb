"""`phosphene filters`: what a layer looks for, as pictures of its weights."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from phosphene.cli.connections import ModelRepository, Server, open_client
from phosphene.cli.consoles import output
from phosphene.cli.numbers import whole_numbers


class Normalization(StrEnum):
    """How weights become brightness."""

    LAYER = "layer"
    FILTER = "filter"
    SYMMETRIC = "symmetric"


def filters(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model, for example [bold]shapes[/bold].")],
    layer: Annotated[
        str,
        typer.Argument(metavar="LAYER", help="A convolution or linear layer, as [bold]models show[/bold] names it."),
    ],
    result: Annotated[Path, typer.Option("--output", "-o", help="Where the figure goes: PNG, JPEG or WebP.")] = Path(
        "filters.png"
    ),
    only: Annotated[
        str, typer.Option("--filters", metavar="0,3,5", help="Only these filters, by index.", show_default=False)
    ] = "",
    normalization: Annotated[
        Normalization,
        typer.Option(
            help="[bold]layer[/bold]: filters can be compared; [bold]filter[/bold]: faint ones become visible; "
            "[bold]symmetric[/bold]: zero is middle gray."
        ),
    ] = Normalization.LAYER,
    enlargement: Annotated[
        int | None, typer.Option(help="The side of one weight in pixels, 1 to 64.", show_default=False)
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Also write the exact weights to this .npy file.", show_default=False)
    ] = None,
    server: Server = None,
    model_repository: ModelRepository = None,
) -> None:
    """Draw the filters of a layer: in colour where it reads pictures, otherwise one gray tile per filter and channel.

    Example: [bold]phosphene filters shapes conv1 --output filters.png[/bold]
    """
    chosen = whole_numbers(only, option="--filters")
    with open_client(server, model_repository) as client:
        found = client.extract_filters(
            model, layer, filters=chosen, normalization=normalization.value, enlargement=enlargement
        )
    found.figure.save(result)
    norms = [item.norm for item in found.statistics]
    dead = sum(item.dead for item in found.statistics)
    output().print(f"{result}: {found.caption}; norms {min(norms):.3g} to {max(norms):.3g}, {dead} dead")
    if weights is not None:
        np.save(weights, found.weights)
        output().print(f"{weights}: float32 {found.weights.shape}")

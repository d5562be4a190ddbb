"""`phosphene models`: what the server can look into."""

from typing import Annotated

import typer
from rich.table import Table

from phosphene.cli.connections import ModelRepository, Server, open_client
from phosphene.cli.consoles import output
from phosphene.models import Layer, Model, ModelSummary

app = typer.Typer(
    help="List the models, or show one: [bold]phosphene models show shapes[/bold].", invoke_without_command=True
)


@app.callback()
def models(context: typer.Context, server: Server = None, model_repository: ModelRepository = None) -> None:
    """List the models; [bold]phosphene models show NAME[/bold] shows one with its layers."""
    if context.invoked_subcommand is None:
        with open_client(server, model_repository) as client:
            output().print(_list(client.models()))


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The name of the model, as [bold]phosphene models[/bold] lists it.")
    ],
    server: Server = None,
    model_repository: ModelRepository = None,
) -> None:
    """Show a model: its input, its classes, how exactly it was imported, and the table of its layers.

    The names of the layers are what `filters`, `apply` and `maximize` ask for.
    """
    with open_client(server, model_repository) as client:
        model = client.model(name)
    output().print(_facts(model))
    output().print(_layers(model.layers))


def _list(summaries: tuple[ModelSummary, ...]) -> Table:
    table = Table("model", "version", "formats", "description", box=None, pad_edge=False)
    for summary in summaries:
        table.add_row(summary.name, summary.version, ", ".join(summary.formats), summary.description)
    return table


def _facts(model: Model) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    reference, preprocessing = model.reference, model.preprocessing
    table.add_row(
        "model", f"[bold]{model.name}[/bold] {reference.version or ''} ({reference.format or 'default format'})"
    )
    table.add_row("", model.description)
    height, width = preprocessing.size
    table.add_row("input", f"{preprocessing.channel_order.upper()}, {height} x {width} pixels (height x width)")
    table.add_row("parameters", f"{model.parameter_count:,}")
    if model.labels:
        table.add_row("classes", f"{len(model.labels)}: {_few(model.labels)}")
    if model.parity is not None:
        parity = model.parity
        deviation = f"{parity.largest_deviation:.1e} of {parity.output_scale:.3g}"
        table.add_row("parity", f"within {deviation} of {parity.runtime}")
    table.add_row("sha256", model.sha256)
    return table


def _few(labels: tuple[str, ...], *, limit: int = 30) -> str:
    shown = ", ".join(labels[:limit])
    return f"{shown}, ..." if len(labels) > limit else shown


def _layers(layers: tuple[Layer, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("layer", "kind", "shape", "filters"):
        # A name is only of use when it is whole.
        table.add_column(heading, no_wrap=heading == "layer", overflow="fold")
    table.add_column("parameters", justify="right")
    for layer in layers:
        count = f"{layer.parameter_count:,}" if layer.parameter_count else ""
        table.add_row(layer.name, layer.kind, _times(layer.shape), _times(layer.filter_shape), count)
    return table


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))

"""`phosphene models`: what the server can look into."""

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table

from phosphene.cli import model_files
from phosphene.cli.connections import ModelRepository, Server, open_client
from phosphene.cli.consoles import output
from phosphene.cli.layer_table import layer_table, short_number
from phosphene.models import Model, ModelSummary

app = typer.Typer(
    help="List the models, show one, or bring new ones in: [bold]phosphene models show shapes[/bold].",
    invoke_without_command=True,
)
app.command("check")(model_files.check)
app.command("add")(model_files.add)
app.command("export")(model_files.export)


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
    console = output()
    console.print(_facts(model))
    console.print(layer_table(model.layers, width=console.width))


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
    for name, text in _input_facts(model):
        table.add_row(name, text)
    table.add_row("parameters", f"{model.parameter_count:,}")
    if model.multiply_accumulates:
        table.add_row("cost", f"{short_number(model.multiply_accumulates)} multiply-accumulates per picture")
    if model.labels:
        table.add_row("classes", f"{len(model.labels)}: {_few(model.labels)}")
    if model.parity is not None:
        parity = model.parity
        deviation = f"{parity.largest_deviation:.1e} of {parity.output_scale:.3g}"
        table.add_row("parity", f"within {deviation} of {parity.runtime}")
    table.add_row("sha256", model.sha256)
    return table


def _input_facts(model: Model) -> Iterator[tuple[str, str]]:
    """What is not as usual: a fixed size or batch, and inputs beside the picture."""
    if model.preprocessing.fixed_size:
        yield "", "pictures of other sizes are resized to it"
    if model.batch_handling == "split":
        yield "batch", f"fixed in the file: {model.fixed_batch_size} at a time, any number is split"
    for entry in model.inputs:
        if entry.name != model.picture_input and model.picture_input:
            shape = " x ".join("any" if length < 0 else str(length) for length in entry.shape)
            needed = "required" if entry.name in model.required_inputs else "has a default"
            yield "other input", f"{entry.name}: {entry.data_type} {shape}".rstrip() + f", {needed}"


def _few(labels: tuple[str, ...], *, limit: int = 30) -> str:
    shown = ", ".join(labels[:limit])
    return f"{shown}, ..." if len(labels) > limit else shown

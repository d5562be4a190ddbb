"""The command line: `phosphene serve | demo | models | filters | apply | maximize | atlas`."""

from typing import Any

import typer
from typer.core import TyperGroup

from phosphene.cli import apply, atlas, demo, filters, maximize, models, serve
from phosphene.cli.consoles import complain
from phosphene.errors import PhospheneError


class _Commands(TyperGroup):
    """Prints what a user can do something about as one line, and ends with status 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (PhospheneError, OSError) as error:
            complain(error)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Commands,
    help="Phosphene shows what a neural network looks for.\n\n"
    "Start with [bold]phosphene demo[/bold]. The other commands speak with the server that --server names, or start "
    "one of their own for as long as they need it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.add_typer(models.app, name="models")
app.command("filters")(filters.filters)
app.command("apply")(apply.apply)
app.command("maximize")(maximize.maximize)
app.command("atlas")(atlas.atlas)
# Its options are the server's: all of them, `--help` too, go through to it.
app.command(
    "serve",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)(serve.serve)


def main() -> None:
    """Run the command that the command line names."""
    app(prog_name="phosphene")

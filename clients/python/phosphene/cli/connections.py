"""The options that choose the server, and the client that they make."""

from pathlib import Path
from typing import Annotated

import typer

import phosphene
from phosphene.cli.consoles import notices

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="PHOSPHENE_SERVER",
        metavar="HOST:PORT",
        help="The server to speak with. Without it, the command starts one of its own.",
        show_default=False,
    ),
]
ModelRepository = Annotated[
    Path | None,
    typer.Option(
        "--model-repository",
        metavar="FOLDER",
        help="Folder of models for the server that the command starts: NAME/VERSION/model.{onnx,pt,pt2}. "
        "The bundled model [bold]shapes[/bold] is always there.",
        show_default=False,
    ),
]


def open_client(server: str | None, model_repository: Path | None) -> phosphene.Client:
    """A client of the server that was named, or of one started for this command."""
    if server is not None:
        if model_repository is not None:
            raise typer.BadParameter(
                "a server that runs already has its own models: give --server or --model-repository"
            )
        return phosphene.connect(server)
    with notices().status("Starting a server of its own ..."):
        return phosphene.launch(model_repository)

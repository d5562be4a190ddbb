"""`phosphene serve`: run the service."""

import os
import subprocess
import sys

import typer

from phosphene.embedded import require_server, server_command

_INTRODUCTION = """\
Serve Phosphene over gRPC until Ctrl-C or SIGTERM.

  phosphene serve                                         the bundled model, for this machine only
  phosphene serve --model-repository models               a folder of models, NAME/VERSION/model.{onnx,pt,pt2}
  phosphene serve --listen 0.0.0.0:50051 --device cuda:0  for everybody who can reach this machine: nobody is asked for
                                                          a password

  phosphene models --server HOST:50051                    what it serves, seen from another machine
"""


def serve(context: typer.Context) -> None:
    """Run the service; `phosphene serve --help` tells its options."""
    require_server()
    command = [*server_command(), *context.args]
    if {"-h", "--help"} & set(context.args):
        typer.echo(_INTRODUCTION)
        raise typer.Exit(subprocess.run(command, check=False).returncode)
    # The server takes this process over, so that signals and the exit status are its own.
    sys.stdout.flush()
    os.execv(command[0], command)

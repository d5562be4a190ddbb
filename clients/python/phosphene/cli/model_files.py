"""`phosphene models check | add | export`: model files, before a server sees them.

The work is done by the server's own code in processes of their own, so that a file that asks for too much ends in a
message. Here the options are passed on and the answers shown.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from phosphene.cli.check_report import report_tables
from phosphene.cli.consoles import notices, output
from phosphene.cli.numbers import picture_size
from phosphene.embedded import require_server
from phosphene.errors import LaunchFailed, ModelUnusable

File = Annotated[
    Path, typer.Argument(metavar="FILE", help="An ONNX, TorchScript or torch.export file.", show_default=False)
]
Repository = Annotated[
    Path,
    typer.Option(metavar="FOLDER", help="The model repository; it is made where it does not exist."),
]
Version = Annotated[str, typer.Option(help="The version; a request that names none gets the newest.")]
Manifest = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A manifest.yaml to start from.", show_default=False)
]
Size = Annotated[
    str,
    typer.Option(
        metavar="PIXELS",
        help="Size of the pictures it was trained on, such as 224 or 224x320 (height x width). "
        "Default: what the manifest or the file says.",
        show_default=False,
    ),
]
Check = Annotated[bool, typer.Option("--check/--no-check", help="Check the file first, and add it only if it passes.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an entry of that name and version.")]
TimeLimit = Annotated[float, typer.Option(metavar="SECONDS", help="How long checking may take.")]
MemoryLimit = Annotated[float, typer.Option(metavar="GIBIBYTES", help="How much memory checking may take.")]

Layers = Annotated[bool, typer.Option("--layers", help="Show the table of layers too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")]

Text = Annotated[str | None, typer.Option(show_default=False)]


def check(
    file: File,
    name: Annotated[str, typer.Option(help="What messages call the model.", show_default="the name of the file")] = "",
    manifest: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its manifest.", show_default="the one beside it")
    ] = None,
    size: Size = "",
    layers: Layers = False,
    as_json: AsJson = False,
    time_limit: TimeLimit = 300.0,
    memory_limit: MemoryLimit = 16.0,
) -> None:
    """Check a model file without a server: is it imported whole and exactly?

    Tells its format, inputs, outputs and layers, all operators that are missing, how far it is from the runtime that
    the file was made for, whether its gradient is right, and how long everything took. Nothing in the file is run
    before it has been inspected. The exit status is 1 if the file cannot be used.
    """
    words = [str(file), *_given("--name", name), *_given("--manifest", manifest)]
    sides = picture_size(size, option="--size")
    words += ["--size", str(sides[0]), str(sides[1])] if sides else []
    words += ["--time-limit", str(time_limit), "--memory-limit", str(memory_limit)]
    report = _run("check", words, f"Checking {file.name} ...")
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        _show(report, layers=layers)
    if not report["passed"]:
        raise typer.Exit(1)


def add(
    file: File,
    name: Annotated[str, typer.Option(help="What requests will call the model.", show_default=False)],
    repository: Repository,
    version: Version = "1",
    labels: Annotated[
        str | None, typer.Option(metavar="FILE|A,B,C", help="The class names, in order.", show_default=False)
    ] = None,
    size: Size = "",
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS", help="What is subtracted, such as 0.485,0.456,0.406 or 127.5.", show_default=False
        ),
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="What it is then divided by.", show_default=False)
    ] = None,
    value_range: Annotated[
        str | None,
        typer.Option("--range", metavar="BLACK,WHITE", help="Black and white before that: 0,1 or 0,255."),
    ] = None,
    channel_order: Annotated[
        str | None, typer.Option(metavar="ORDER", help="rgb, bgr or gray.", show_default=False)
    ] = None,
    logits: Annotated[
        str | None, typer.Option(metavar="LAYER", help="The layer of the class logits.", show_default=False)
    ] = None,
    description: Text = None,
    source: Text = None,
    licence: Text = None,
    manifest: Manifest = None,
    trusted: Annotated[
        bool, typer.Option("--trusted", help="Vouch for a TorchScript or torch.export file, which holds programs.")
    ] = False,
    check: Check = True,
    force: Force = False,
    time_limit: TimeLimit = 300.0,
    memory_limit: MemoryLimit = 16.0,
) -> None:
    """Put a model file into a repository, with a manifest made of the options.

    The file and what belongs to it are copied to FOLDER/NAME/VERSION, all at once or not at all.
    """
    words = [str(file), "--name", name, *(["--trusted"] if trusted else [])]
    texts = {
        "--labels": labels,
        "--size": size,
        "--mean": mean,
        "--std": std,
        "--range": value_range,
        "--channel-order": channel_order,
        "--logits": logits,
        "--description": description,
        "--source": source,
        "--licence": licence,
        "--manifest": manifest,
    }
    words += [word for option, text in texts.items() for word in _given(option, text)]
    words += _placing(repository, version, check, force, time_limit, memory_limit)
    _place("add", words, f"Adding {file.name} ...", repository=repository, name=name)


def export(
    model: Annotated[
        str, typer.Argument(metavar="LIBRARY:NAME", help="torchvision:NAME or timm:NAME.", show_default=False)
    ],
    repository: Repository,
    weights: Annotated[
        str, typer.Option(help="DEFAULT, weights that the library knows by this name, or none for random ones.")
    ] = "DEFAULT",
    model_format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="onnx, torchscript or torch_export.")
    ] = "onnx",
    name: Annotated[str, typer.Option(help="What requests will call it.", show_default="its name there")] = "",
    version: Version = "1",
    size: Size = "",
    check: Check = True,
    force: Force = False,
    time_limit: TimeLimit = 300.0,
    memory_limit: MemoryLimit = 16.0,
) -> None:
    """Make a model from a library and put it into a repository.

    Example: [bold]phosphene models export torchvision:resnet50 --repository models[/bold]

    How it reads pictures, its classes and where it comes from are what the library itself says.
    """
    words = [model, "--weights", weights, "--format", model_format, *_given("--name", name), *_given("--size", size)]
    words += _placing(repository, version, check, force, time_limit, memory_limit)
    _place("export", words, f"Exporting {model} ...", repository=repository, name=name or model.partition(":")[2])


def _given(option: str, value: object) -> list[str]:
    """An option as words; none where it was not given. A value may begin with a minus sign."""
    return [] if value in (None, "") else [f"{option}={value}"]


def _placing(
    repository: Path, version: str, check: bool, force: bool, time_limit: float, memory_limit: float
) -> list[str]:
    words = ["--repository", str(repository), f"--version={version}"]
    words += [*([] if check else ["--no-check"]), *(["--force"] if force else [])]
    return [*words, "--time-limit", str(time_limit), "--memory-limit", str(memory_limit)]


def _place(command: str, words: list[str], doing: str, *, repository: Path, name: str) -> None:
    """Run a command that writes an entry, and tell what came of it."""
    answer = _run(command, words, doing)
    if answer["report"] is not None:
        _show(answer["report"], layers=False)
    if answer["error"]:
        raise ModelUnusable(answer["error"])
    output().print(f"[bold green]added[/bold green] {escape(answer['entry'])}")
    output().print(f"next: phosphene models show {name} --model-repository {repository}")
    output().print(f"      phosphene serve --model-repository {repository}")


def _run(command: str, words: list[str], doing: str) -> Any:
    """Run a command of the server's workbench and return its answer."""
    require_server()
    # `-P` keeps the working folder's files from being taken for the server's modules.
    line = [sys.executable, "-P", "-m", f"phosphene_server.workbench.{command}", *words]
    with notices().status(doing):
        child = subprocess.run(line, capture_output=True, text=True, errors="replace", check=False)
    try:
        return json.loads(child.stdout.splitlines()[-1])
    except (json.JSONDecodeError, IndexError):
        last = (child.stderr.strip().splitlines() or ["it wrote nothing"])[-1]
        raise LaunchFailed(f"models {command} ended with status {child.returncode}: {last}") from None


def _show(report: Any, *, layers: bool) -> None:
    for table in report_tables(report, layers=layers):
        output().print(table)

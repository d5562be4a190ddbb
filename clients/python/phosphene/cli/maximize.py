"""`phosphene maximize`: the picture that most excites a part of a network, and how it grew."""

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from rich.markup import escape

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
from phosphene.cli.connections import ModelRepository, Server, open_client
from phosphene.cli.consoles import notices, output
from phosphene.cli.numbers import named_values, picture_size
from phosphene.cli.objective_syntax import TEACHING, parse_objective
from phosphene.cli.progress import display
from phosphene.client import Run
from phosphene.maximizations import Frame, MaximizationWarning, Progress, Result
from phosphene.pictures import grid, save_animation


def maximize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model, for example [bold]shapes[/bold].")],
    objective: Annotated[list[str], typer.Argument(metavar="OBJECTIVE...", help=TEACHING)],
    result: Annotated[
        Path, typer.Option("--output", "-o", help="Where the final picture goes; several are laid out as a grid.")
    ] = Path("maximization.png"),
    steps: Steps = None,
    size: Size = "",
    pictures: Annotated[
        int | None, typer.Option(help="How many pictures, each from its own random start.", show_default="1")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same picture.", show_default="random")
    ] = None,
    frames: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write every intermediate picture into this folder.", show_default=False),
    ] = None,
    animation: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write how it grew as an animated .webp or .gif.", show_default=False),
    ] = None,
    frame_every: Annotated[
        int | None, typer.Option(help="An intermediate picture every so many steps.", show_default="16")
    ] = None,
    parameterization: Parameterization = ParameterizationName.FOURIER,
    transforms: Transforms = True,
    learning_rate: LearningRate = None,
    priority: Priority = None,
    precision: Precision = None,
    fixed_inputs: FixedInputs = None,
    server: Server = None,
    model_repository: ModelRepository = None,
) -> None:
    """Find the picture that most excites a class, a channel, a neuron or a layer, and watch it grow.

    Example: [bold]phosphene maximize shapes class:star --seed 7 --animation star.webp[/bold]
    """
    parsed = parse_objective(objective)
    parsed_inputs = named_values(fixed_inputs or (), option="--input")
    parsed_size = picture_size(size, option="--size")
    with (
        open_client(server, model_repository) as client,
        client.maximize(
            model,
            parsed,
            steps=steps,
            size=parsed_size,
            pictures=pictures,
            seed=seed,
            parameterization=chosen_parameterization(parameterization),
            transforms=None if transforms else (),
            learning_rate=learning_rate,
            priority=priority,
            precision=chosen_precision(precision),
            fixed_inputs=parsed_inputs,
            frame_every=_cadence(frame_every, wanted=frames is not None or animation is not None),
        ) as run,
    ):
        sheets = _follow(run, " ".join(objective), frames)
        found = run.result()
    _save(run, found, sheets, result, animation)


def _cadence(frame_every: int | None, *, wanted: bool) -> int | None:
    """No frames at all where nobody keeps them."""
    return frame_every if wanted else 0


def _follow(run: Run, title: str, folder: Path | None) -> list[Image.Image]:
    """Show the progress, keep every frame, and write it where a folder is given."""
    sheets: list[Image.Image] = []
    with display() as shown:
        number = shown.add(escape(title), total=run.settings.steps or 0)
        for event in run.events():
            match event:
                case Progress():
                    shown.update(number, completed=event.step, note=_note(event))
                case Frame():
                    sheets.append(_sheet(event.images))
                    _write_frame(sheets[-1], event.step, folder)
                case MaximizationWarning():
                    notices().print(f"[yellow]warning:[/yellow] {escape(event.message)}")
                case Result():
                    shown.update(number, completed=event.step, note=f"objective {event.objective.mean():.4g}")
    return sheets


def _note(progress: Progress) -> str:
    if progress.queue_position:
        return f"waits, number {progress.queue_position} in the queue"
    if not progress.objective.size:
        return ""
    return f"objective {progress.objective.mean():.4g}, {progress.steps_per_second:.1f} steps/s"


def _sheet(pictures: tuple[Image.Image, ...]) -> Image.Image:
    return pictures[0] if len(pictures) == 1 else grid(pictures)


def _write_frame(sheet: Image.Image, step: int, folder: Path | None) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        sheet.save(folder / f"{step:06d}.png")


def _save(run: Run, found: Result, sheets: list[Image.Image], path: Path, animation: Path | None) -> None:
    final = _sheet(found.pictures)
    # JPEG has no transparency, which the gaps of a grid are.
    (final.convert("RGB") if path.suffix.lower() in (".jpg", ".jpeg") else final).save(path)
    reached = ", ".join(f"{value:.4g}" for value in found.objective)
    output().print(
        f"{path}: objective {reached} after {found.step} steps ({found.stop_reason}), seed {run.settings.seed}"
    )
    if animation is not None:
        save_animation([*sheets, final], animation)
        output().print(f"{animation}: {len(sheets) + 1} pictures")

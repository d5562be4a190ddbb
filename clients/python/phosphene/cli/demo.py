"""`phosphene demo`: the three jobs on the bundled network, and a page that shows them."""

import asyncio
import time
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from rich.markup import escape

from phosphene import aio, objectives
from phosphene.cli.consoles import output
from phosphene.cli.demo_page import Facts, write_page
from phosphene.cli.panels import captioned_grid
from phosphene.cli.progress import Display, display
from phosphene.cli.sample_picture import sample_picture
from phosphene.filters import Filters
from phosphene.kernels import KernelResponse, layer_kernel
from phosphene.maximizations import Frame, Progress, Result
from phosphene.models import Layer, Model
from phosphene.pictures import save_animation

_MODEL = "shapes"
_STEPS = 256
_FRAME_EVERY = 8
_SEED = 5
# Nine classes that look different from one another; a network that lacks some of them shows others instead.
_FAVOURITES = ("star", "heart", "triangle", "disc", "rings", "arrow", "honeycomb", "zigzag", "dots")


@dataclass(frozen=True)
class _Dream:
    """What one class looks like to the network."""

    label: str
    frames: tuple[Frame, ...]
    result: Result


def demo(
    folder: Annotated[Path, typer.Argument(help="Where the page and its pictures go.")] = Path("phosphene-demo"),
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show what the bundled network looks for: its filters, a kernel on a picture, and nine classes as it dreams them.

    Starts a server of its own on this machine, and ends it again. Needs no network and no GPU.
    """
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    facts = asyncio.run(_run(folder))
    page = write_page(folder, facts, seconds=time.monotonic() - started)
    output().print(f"{page.resolve()}  ({time.monotonic() - started:.0f} s)")
    if show:
        webbrowser.open(page.resolve().as_uri())


async def _run(folder: Path) -> Facts:
    with display() as shown:
        jobs = shown.add("server and network", total=1)
        async with aio.launch() as client:
            model = await client.model(_MODEL)
            shown.update(jobs, completed=1, note=f"{len(model.layers)} layers, {model.parameter_count:,} parameters")
            layer = _first_convolution(model)
            filters = await _draw_filters(client, layer, folder, shown)
            edges, answer = await _draw_kernels(client, layer, filters, folder, shown)
            dreams = await _dream(client, _chosen(model.labels), shown)
    _draw_dreams(dreams, folder)
    return _facts(model, layer, filters, edges, answer, dreams)


def _first_convolution(model: Model) -> Layer:
    """The first layer that reads the colours of the picture."""
    return next(layer for layer in model.layers if len(layer.filter_shape) == 4 and layer.filter_shape[1] == 3)


async def _draw_filters(client: aio.Client, layer: Layer, folder: Path, shown: Display) -> Filters:
    job = shown.add("filters", total=1)
    filters = await client.extract_filters(_MODEL, layer.name, normalization="filter")
    filters.figure.save(folder / "filters.png")
    shown.update(job, completed=1, note=filters.caption)
    return filters


async def _draw_kernels(
    client: aio.Client, layer: Layer, filters: Filters, folder: Path, shown: Display
) -> tuple[KernelResponse, KernelResponse]:
    """The Laplacian and the strongest filter of the network, on the sample picture."""
    job = shown.add("kernel", total=2)
    picture = sample_picture()
    edges = (await client.apply_kernel(picture, kernel="laplacian"))[0]
    shown.update(job, completed=1)
    strongest = max(filters.statistics, key=lambda item: item.norm).index
    kernel = layer_kernel(_MODEL, layer.name, filters=[strongest])
    answer = (await client.apply_kernel(picture, kernel, overlay=True))[0]
    shown.update(job, completed=2, note=f"laplacian, {layer.name}:{strongest}")
    overlay = edges.overlay or edges.picture
    captions = ("picture", "laplacian", "laplacian over the picture", f"{layer.name}, filter {strongest}")
    panel = captioned_grid([picture, edges.picture, overlay, answer.picture], captions, columns=2)
    panel.save(folder / "kernel.png")
    return edges, answer


def _chosen(labels: Sequence[str], *, count: int = 9) -> tuple[str, ...]:
    favourites = [label for label in _FAVOURITES if label in labels]
    others = [label for label in labels if label not in favourites]
    return tuple([*favourites, *others][:count])


async def _dream(client: aio.Client, labels: Sequence[str], shown: Display) -> list[_Dream]:
    """All classes at the same time: the server steps them as one batch."""
    return await asyncio.gather(*(_dream_class(client, label, shown) for label in labels))


async def _dream_class(client: aio.Client, label: str, shown: Display) -> _Dream:
    job = shown.add(f"maximization, {escape(label)}", total=_STEPS)
    frames: list[Frame] = []
    async with await client.maximize(
        _MODEL,
        objectives.class_logit(label),
        steps=_STEPS,
        seed=_SEED,
        frame_every=_FRAME_EVERY,
    ) as run:
        async for event in run.events():
            match event:
                case Progress():
                    note = f"logit {event.objective.mean():.1f}" if event.objective.size else ""
                    shown.update(job, completed=event.step, note=note)
                case Frame():
                    frames.append(event)
        result = await run.result()
    shown.update(job, completed=result.step, note=f"logit {result.objective[0]:.1f}")
    return _Dream(label, tuple(frames), result)


def _draw_dreams(dreams: Sequence[_Dream], folder: Path) -> None:
    """The final pictures, and the animation of how they grew."""
    captions = [f"{dream.label}   {dream.result.objective[0]:.1f}" for dream in dreams]
    final = captioned_grid([dream.result.image for dream in dreams], captions, columns=3, side=208)
    final.save(folder / "maximization.png")
    steps = sorted({frame.step for dream in dreams for frame in dream.frames})
    sheets = [_sheet_at(step, dreams) for step in steps]
    save_animation([*sheets, final], folder / "maximization.webp", seconds_per_frame=0.1)


def _sheet_at(step: int, dreams: Sequence[_Dream]) -> Image.Image:
    """All classes at a step; a frame that was lost is replaced by the one before it."""
    frames = [
        max((f for f in dream.frames if f.step <= step), key=lambda f: f.step, default=dream.frames[0])
        for dream in dreams
    ]
    captions = [f"{dream.label}   {frame.objective[0]:.1f}" for dream, frame in zip(dreams, frames, strict=True)]
    return captioned_grid([frame.image for frame in frames], captions, columns=3, side=208)


def _facts(
    model: Model, layer: Layer, filters: Filters, edges: KernelResponse, answer: KernelResponse, dreams: list[_Dream]
) -> Facts:
    return Facts(
        model=model,
        layer=layer,
        filters=filters,
        edges=edges,
        answer=answer,
        strongest=max(filters.statistics, key=lambda item: item.norm),
        histories=tuple((dream.label, dream.result.history.mean(axis=1)) for dream in dreams),
        logits=tuple((dream.label, float(dream.result.objective[0])) for dream in dreams),
        steps=dreams[0].result.step,
        size=dreams[0].result.images.shape[1:3],
        seed=_SEED,
        duration_seconds=max(dream.result.duration_seconds for dream in dreams),
    )

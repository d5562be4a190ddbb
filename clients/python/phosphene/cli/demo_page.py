"""The page of the demo: one HTML file beside the pictures, with numbers from the run."""

import html
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from phosphene.filters import Filters, FilterStatistics
from phosphene.kernels import KernelResponse
from phosphene.models import Layer, Model


@dataclass(frozen=True, eq=False)
class Facts:
    """What the page tells."""

    model: Model
    layer: Layer
    filters: Filters
    edges: KernelResponse
    answer: KernelResponse
    strongest: FilterStatistics
    histories: tuple[tuple[str, NDArray[np.float64]], ...]
    """Of each class: its name and the logit at each step."""
    logits: tuple[tuple[str, float], ...]
    """Of each class: its name and the logit of the final picture."""
    steps: int
    size: tuple[int, int]
    """(height, width) of the dreamt pictures."""
    seed: int
    duration_seconds: float


def write_page(folder: Path, facts: Facts, *, seconds: float) -> Path:
    """Write `index.html` beside the pictures.

    Args:
        folder: Where `filters.png`, `kernel.png`, `maximization.png` and `maximization.webp` are.
        facts: What the captions tell.
        seconds: How long the whole demo took.
    """
    template = Template(files("phosphene.cli").joinpath("demo.html").read_text(encoding="utf-8"))
    words = {name: html.escape(text) for name, text in _captions(facts, seconds).items()}
    page = folder / "index.html"
    page.write_text(template.substitute(words, curves=_curves(facts)), encoding="utf-8")
    return page


def _captions(facts: Facts, seconds: float) -> dict[str, str]:
    return {
        "network": _network(facts.model),
        "filters": _filters(facts),
        "kernel": _kernel(facts),
        "maximization": _maximization(facts),
        "footer": f"Made by phosphene demo on {datetime.now():%Y-%m-%d %H:%M} in {seconds:.0f} s. "
        f"Model file sha256 {facts.model.sha256[:16]}...",
    }


def _network(model: Model) -> str:
    height, width = model.preprocessing.size
    text = (
        f"{model.name} {model.reference.version or ''}: {model.parameter_count:,} parameters, "
        f"{len(model.layers)} layers, {len(model.labels)} classes, {height} × {width} pixels."
    )
    if model.parity is None:
        return text
    parity = model.parity
    return f"{text} Its differentiable graph is within {parity.largest_deviation:.1e} of {parity.runtime}."


def _filters(facts: Facts) -> str:
    count, channels, height, width = facts.layer.filter_shape
    norms = [item.norm for item in facts.filters.statistics]
    dead = sum(item.dead for item in facts.filters.statistics)
    return (
        f"All {count} filters of {facts.layer.name}, {height} × {width} weights for each of {channels} colours, "
        f"exactly as they are in the file, each from its own darkest to its brightest. "
        f"Norms from {min(norms):.2f} to {max(norms):.2f}; {dead} dead."
    )


def _kernel(facts: Facts) -> str:
    edges, answer = facts.edges.values, facts.answer.values
    return (
        f"The Laplacian answers from {edges.min():.2f} to {edges.max():.2f}: blue below zero, white at zero, red "
        f"above. Filter {facts.strongest.index} of {facts.layer.name}, the strongest of the network (norm "
        f"{facts.strongest.norm:.2f}), answers from {answer.min():.2f} to {answer.max():.2f} on the same picture."
    )


def _maximization(facts: Facts) -> str:
    height, width = facts.size
    (low_label, low), (high_label, high) = (choose(facts.logits, key=lambda pair: pair[1]) for choose in (min, max))
    return (
        f"{len(facts.logits)} pictures that excite one class each the most, found in {facts.steps} steps at "
        f"{height} × {width} pixels, all at the same time, in {facts.duration_seconds:.1f} s (seed {facts.seed}). "
        f"The number is the logit of the finished picture: from {low:.1f} ({low_label}) to {high:.1f} ({high_label})."
    )


def _curves(facts: Facts, *, width: int = 720, height: int = 180) -> str:
    """The logit of each class at each step, as lines of an SVG; the highest and the lowest value frame them."""
    values = np.stack([_smooth(history) for _, history in facts.histories])
    low, high = float(values.min()), float(values.max())
    across = np.linspace(0, width, values.shape[1])
    lines = []
    for index, ((label, _), row) in enumerate(zip(facts.histories, values, strict=True)):
        down = height - (row - low) / max(high - low, 1e-9) * height
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
        colour = f"hsl({360 * index // len(values)} 65% 55%)"
        lines.append(f'<polyline points="{points}" stroke="{colour}"><title>{html.escape(label)}</title></polyline>')
    legend = "".join(
        f'<span><i style="background:hsl({360 * index // len(values)} 65% 55%)"></i>{html.escape(label)}</span>'
        for index, (label, _) in enumerate(facts.histories)
    )
    drawing = f'<svg viewBox="0 -4 {width} {height + 8}" role="img" aria-label="logits by step">{"".join(lines)}</svg>'
    ends = f"<span>step 1</span><span>logit {low:.1f} to {high:.1f}</span><span>step {facts.steps}</span>"
    return f"{drawing}<p class='axis'>{ends}</p><p class='legend'>{legend}</p>"


def _smooth(history: NDArray[np.float64], *, window: int = 25) -> NDArray[np.float64]:
    """The moving mean: every step sees the picture differently transformed, so single steps jump."""
    padded = np.pad(history, window // 2, mode="edge")
    return np.convolve(padded, np.full(window, 1 / window), mode="valid")

"""The page of an atlas: one HTML file beside the pictures, that needs nothing from elsewhere."""

import html
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from string import Template

from phosphene.cli.atlas_folder import AtlasFolder
from phosphene.models import Model


def write_page(place: AtlasFolder, shown: Sequence[int], wanted: Sequence[int], model: Model) -> Path:
    """Write `index.html`.

    Args:
        place: Where the pictures are, and what is known of them.
        shown: The channels that have a picture.
        wanted: All channels of the atlas.
        model: The model.
    """
    template = Template(files("phosphene.cli").joinpath("atlas.html").read_text(encoding="utf-8"))
    words = {
        "layer": place.settings["layer"],
        "lead": _lead(place, shown, model),
        "notice": _notice(place, wanted),
        "footer": f"Made by phosphene atlas on {datetime.now():%Y-%m-%d %H:%M}.",
    }
    page = place.path / "index.html"
    page.write_text(
        template.substitute(
            {name: html.escape(text) for name, text in words.items()},
            figures="\n".join(_figure(place, channel) for channel in shown),
            sheet='<a href="sheet.png">All on one sheet</a>' if shown else "",
            settings="".join(
                f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in place.settings.items()
            ),
        ),
        encoding="utf-8",
    )
    return page


def _lead(place: AtlasFolder, shown: Sequence[int], model: Model) -> str:
    layer = model.layer(place.settings["layer"])
    what = "neuron at the centre of each" if place.settings["target"] == "neuron" else "mean of each"
    kind = layer.kind.replace("_", " ")
    text = (
        f"What {len(shown)} of the {layer.shape[0]} channels of this {kind} of {model.name} look for: each picture was "
        f"drawn from noise, with the same seed, so that the {what} channel becomes as large as possible. Below it "
        "stand its channel and what it reaches."
    )
    if not shown:
        return text
    reached = {channel: place.pictures[channel]["objective"] for channel in shown}
    low, high = min(reached, key=reached.__getitem__), max(reached, key=reached.__getitem__)
    lowest, highest = (f"{_number(reached[channel])} (channel {channel})" for channel in (low, high))
    return f"{text} This lies between {lowest} and {highest}."


def _notice(place: AtlasFolder, wanted: Sequence[int]) -> str:
    """What is missing and why; empty when nothing is."""
    missing = place.missing(wanted)
    if not missing:
        return ""
    failed = [f"channel {channel}: {place.failures[channel]}" for channel in missing if channel in place.failures]
    left = len(missing) - len(failed)
    texts = [f"{len(missing)} of {len(wanted)} pictures are missing."]
    if left:
        texts.append(f"The drawing was interrupted before {left} of them; the same command goes on with them.")
    if failed:
        texts.append(f"{len(failed)} failed: {'; '.join(failed[:8])}{'; ...' if len(failed) > 8 else ''}.")
    return " ".join(texts)


def _figure(place: AtlasFolder, channel: int) -> str:
    source = place.file(channel).relative_to(place.path).as_posix()
    objective, warning = place.pictures[channel]["objective"], place.warnings.get(channel)
    mark = f'<abbr title="{html.escape(warning)}">!</abbr>' if warning else ""
    return (
        f'    <figure data-channel="{channel}" data-objective="{objective!r}"><a href="{source}">'
        f'<img loading="lazy" src="{source}" alt="What channel {channel} looks for"></a>'
        f"<figcaption>{channel}{mark}<span>{_number(objective)}</span></figcaption></figure>"
    )


def _number(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"

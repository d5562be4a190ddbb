"""The main comparison as a picture: bars of milliseconds, with their numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

WIDTH, MARGIN, LABEL, BAR, GAP = 1200, 40, 330, 30, 10
TEXT, TITLE = 20, 26
OURS, LIMIT, OTHERS = (201, 74, 42), (120, 120, 120), (70, 110, 160)


def draw(blocks: Mapping[str, Any], caption: str, path: Path) -> None:
    """Draw the rows of the section `step`, a panel for each number of pictures.

    Args:
        blocks: For each panel, by its title, what `Times.report` tells of each row.
        caption: What stands below, a line: the machine and the date.
        path: The PNG.
    """
    panels = [
        (name.replace("=", ": "), [(row, values) for row, values in rows.items() if "median" in values])
        for name, rows in blocks.items()
    ]
    height = MARGIN * 2 + sum(TITLE + MARGIN + len(rows) * (BAR + GAP) for _, rows in panels) + TEXT
    picture = Image.new("RGB", (WIDTH, height), "white")
    pen = ImageDraw.Draw(picture)
    top = MARGIN
    for title, rows in panels:
        pen.text((MARGIN, top), f"milliseconds per step, {title}", "black", ImageFont.load_default(TITLE))
        top = _panel(pen, rows, top + TITLE + GAP) + MARGIN - GAP
    pen.text((MARGIN, height - MARGIN - TEXT // 2), caption, "gray", ImageFont.load_default(TEXT - 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)


def _panel(pen: ImageDraw.ImageDraw, rows: Sequence[tuple[str, Mapping[str, Any]]], top: int) -> int:
    """Draw bars from zero, with a line between the quartiles, and return where they end."""
    room = WIDTH - 2 * MARGIN - LABEL - 90
    scale = room / max((values["quartiles"][1] for _, values in rows), default=1.0)
    left, font = MARGIN + LABEL, ImageFont.load_default(TEXT)
    for name, values in rows:
        low, high = (left + round(scale * value) for value in values["quartiles"])
        middle = top + BAR // 2
        pen.text((MARGIN, top + 3), name, "black", font)
        pen.rectangle((left, top, left + max(1, round(scale * values["median"])), top + BAR), _color(name))
        pen.line((low, middle, high, middle), "black", 2)
        pen.text((high + GAP, top + 3), f"{values['median']:.1f}", "black", font)
        top += BAR + GAP
    return top


def _color(name: str) -> tuple[int, int, int]:
    if name.startswith("phosphene"):
        return OURS
    return LIMIT if name.startswith(("bare", "lowered")) else OTHERS

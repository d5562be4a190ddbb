"""Objectives as they are written on a command line."""

import re
from collections.abc import Iterable

import typer

from phosphene import objectives
from phosphene.objectives import Objective

TEACHING = (
    "[bold]class:star[/bold] the logit of a class, by name or index; "
    "[bold]conv3:5[/bold] the mean of channel 5 of layer conv3; "
    "[bold]conv3:5@4,7[/bold] one neuron of it, at row 4, column 7; "
    "[bold]layer:conv3[/bold] a whole layer. "
    "Several are added, each with a factor if you like: [bold]class:star - 0.5*class:ring[/bold]."
)

_FACTOR = re.compile(r"(?P<factor>[0-9]*\.?[0-9]+)\s*\*\s*(?P<term>.+)")
_NEURON = re.compile(r"(?P<layer>.+):(?P<channel>[0-9]+)@(?P<row>[0-9]+),(?P<column>[0-9]+)")
_CHANNEL = re.compile(r"(?P<layer>.+):(?P<channel>[0-9]+)")


def parse_objective(words: Iterable[str]) -> Objective:
    """Read an objective; each word is one term, or an operator, or terms joined by ` + ` and ` - `.

    Raises:
        typer.BadParameter: it cannot be read; the message says what can.
    """
    parts = [part for word in words for part in re.split(r"(?:^|\s+)([+-])(?:\s+|$)", word.strip()) if part]
    found: list[Objective] = []
    sign = 1.0
    for part in parts:
        if part in ("+", "-"):
            sign = 1.0 if part == "+" else -1.0
            continue
        term = _weighted(part)
        found.append(term if sign > 0 else -term)
        sign = 1.0
    if not found or parts[-1] in ("+", "-"):
        raise _unreadable(" ".join(parts))
    return found[0] if len(found) == 1 else sum(found[1:], found[0])


def _weighted(text: str) -> Objective:
    match = _FACTOR.fullmatch(text)
    return float(match["factor"]) * _term(match["term"]) if match else _term(text)


def _term(text: str) -> Objective:
    kind, _, name = text.partition(":")
    if kind == "class" and name:
        return objectives.class_logit(int(name) if name.isdecimal() else name)
    if kind == "layer" and name:
        return objectives.layer(name)
    if match := _NEURON.fullmatch(text):
        return objectives.neuron(match["layer"], int(match["channel"]), int(match["row"]), int(match["column"]))
    if match := _CHANNEL.fullmatch(text):
        return objectives.channel(match["layer"], int(match["channel"]))
    raise _unreadable(text)


def _unreadable(text: str) -> typer.BadParameter:
    forms = "class:NAME, LAYER:CHANNEL, LAYER:CHANNEL@ROW,COLUMN, layer:NAME, or 0.5*... of these"
    return typer.BadParameter(f"expected {forms}, got {text!r}", param_hint="OBJECTIVE")

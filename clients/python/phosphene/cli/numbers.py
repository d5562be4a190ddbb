"""Numbers as they are written on a command line."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

_MOST_NUMBERS = 2**14
"""More than any server takes in one request."""


def whole_numbers(text: str, *, option: str) -> tuple[int, ...]:
    """The numbers of `0,3,5`; none of an empty text."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise typer.BadParameter(
            f"expected whole numbers separated by commas, such as 0,3,5, got {text!r}", param_hint=option
        ) from error


def number_ranges(text: str, *, option: str) -> tuple[int, ...]:
    """The numbers of `0-31,40`, each once; none of an empty text."""
    numbers: list[int] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise typer.BadParameter(f"expected numbers and ranges such as 0-31,40, got {part!r}", param_hint=option)
        stop = int(last if dash else first) + 1
        if len(numbers) + stop - int(first) > _MOST_NUMBERS:
            raise typer.BadParameter(f"expected at most {_MOST_NUMBERS} numbers, got {part!r}", param_hint=option)
        numbers += range(int(first), stop)
    return tuple(dict.fromkeys(numbers))


def picture_size(text: str, *, option: str) -> tuple[int, int] | None:
    """(height, width) of `96` or `96x128`; None of an empty text."""
    if not text:
        return None
    try:
        sides = [int(part) for part in text.lower().split("x")]
        height, width = sides if len(sides) == 2 else (sides[0], sides[0])
    except ValueError as error:
        raise typer.BadParameter(
            f"expected pixels such as 96, or HEIGHTxWIDTH such as 96x128, got {text!r}", param_hint=option
        ) from error
    if len(sides) > 2:
        raise typer.BadParameter(f"expected one number or HEIGHTxWIDTH, got {text!r}", param_hint=option)
    return height, width


def named_values(texts: Iterable[str], *, option: str) -> dict[str, NDArray[Any]]:
    """The arrays of `scale=0.5` and `mask=FILE.npy`, by name."""
    return dict(_named_value(text, option=option) for text in texts)


def _named_value(text: str, *, option: str) -> tuple[str, NDArray[Any]]:
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise typer.BadParameter(f"expected NAME=NUMBER or NAME=FILE.npy, got {text!r}", param_hint=option)
    try:
        return name, np.asarray(float(value))
    except ValueError:
        return name, _array_file(Path(value), option=option)


def _array_file(path: Path, *, option: str) -> NDArray[Any]:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise typer.BadParameter(
            f"expected a number or a .npy file, got {str(path)!r}: {error}", param_hint=option
        ) from error
    if not isinstance(array, np.ndarray):
        raise typer.BadParameter(f"expected a .npy file with one array, got {str(path)!r}", param_hint=option)
    return array

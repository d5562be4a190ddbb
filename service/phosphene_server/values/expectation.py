"""What pydantic found wrong, in plain words: the phrase for `InvalidArgument.expected` and how a value is shown."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

LONGEST_SHOWN = 60
"""Characters of a value that an error shows."""


def expectation(kind: str, context: Mapping[str, Any], *, otherwise: str) -> str:
    """Return what was expected, as a phrase.

    Args:
        kind: The `type` of an error of pydantic, for example `greater_than_equal`.
        context: Its `ctx`.
        otherwise: The phrase for a kind that is not in the table.
    """
    phrase = _PHRASES.get(kind)
    return phrase(context) if phrase else otherwise


def shown(value: object) -> str:
    """Return a short text for a value that is wrong."""
    if isinstance(value, np.ndarray):
        return f"a tensor of {value.dtype} with shape {value.shape}"
    if isinstance(value, list | tuple):
        return "1 item" if len(value) == 1 else f"{len(value)} items"
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _choices(names: str) -> str:
    return f"one of {names}" if "," in names or " or " in names else names


_PHRASES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda context: f"a number above {context['gt']:g}",
    "greater_than_equal": lambda context: f"a number of at least {_plain(context['ge'])}",
    "less_than": lambda context: f"a number below {_plain(context['lt'])}",
    "less_than_equal": lambda context: f"a number of at most {_plain(context['le'])}",
    "finite_number": lambda _: "a finite number",
    "string_too_short": lambda context: f"at least {_count(context['min_length'], 'character')}",
    "string_too_long": lambda context: f"at most {_count(context['max_length'], 'character')}",
    "too_short": lambda context: f"at least {_count(context['min_length'], 'item')}",
    "too_long": lambda context: f"at most {_count(context['max_length'], 'item')}",
    "literal_error": lambda context: _choices(context["expected"]),
    "union_tag_invalid": lambda context: _choices(context["expected_tags"]),
    "int_parsing": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "float_parsing": lambda _: "a number",
    "bool_parsing": lambda _: "true or false",
}


def _plain(number: float) -> str:
    """Return a bound without a needless `.0`, and large whole numbers in full."""
    return str(int(number)) if number == int(number) else f"{number:g}"

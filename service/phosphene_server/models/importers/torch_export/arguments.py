"""The JSON of an argument -> its value."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.torch_export.archive import SCALAR_TYPES

Look = Callable[[str], Any]
"""Returns the value that has a name in the program."""


def argument(document: Mapping[str, Any], look: Look) -> Any:
    """Return the value of an argument, a union of which one member is set.

    Args:
        document: For example `{"as_tensor": {"name": "x"}}`.
        look: Where names are looked up.

    Raises:
        UnsupportedModel: it is of a kind that no network of tensors needs: graphs, custom objects, operators.
    """
    ((kind, value),) = document.items()
    if kind not in KINDS:
        raise UnsupportedModel("", f"it has an argument of the kind {kind}")
    return KINDS[kind](value, look)


def example(document: Mapping[str, Any]) -> Tensor | None:
    """Return a meta tensor like one that the program describes, with the sizes that it was exported with."""
    hints = [_hint(size) for size in document["sizes"]]
    sizes = [hint for hint in hints if hint is not None]
    if len(sizes) < len(hints):
        return None
    return torch.empty(sizes, dtype=SCALAR_TYPES[document["dtype"]], device="meta")


def _hint(size: Mapping[str, Any]) -> int | None:
    if "as_int" in size:
        return int(size["as_int"])
    # The expression itself is never read: torch hands it to sympy, which evaluates it as code.
    hint = size["as_expr"].get("hint") or {}
    return int(hint["as_int"]) if "as_int" in hint else None


def _named(value: Mapping[str, Any], look: Look) -> Any:
    return look(value["name"])


def _symbolic(value: Mapping[str, Any], look: Look) -> Any:
    ((kind, content),) = value.items()
    return look(content) if kind == "as_name" else content


def _optional(value: Mapping[str, Any], look: Look) -> Any:
    return look(value["as_tensor"]["name"]) if "as_tensor" in value else None


def _plain(value: Any, look: Look) -> Any:
    return value


def _every(each: Callable[[Any, Look], Any]) -> Callable[[Any, Look], Any]:
    return lambda values, look: [each(value, look) for value in values]


def _number(value: Any, look: Look) -> float:
    return float(value)  # Infinity is written as a word.


KINDS: Mapping[str, Callable[[Any, Look], Any]] = {
    "as_none": lambda value, look: None,
    "as_tensor": _named,
    "as_tensors": _every(_named),
    "as_optional_tensor": _optional,
    "as_optional_tensors": _every(_optional),
    "as_int": _plain,
    "as_ints": _plain,
    "as_float": _number,
    "as_floats": _every(_number),
    "as_complex": lambda value, look: complex(value["real"], value["imag"]),
    "as_bool": _plain,
    "as_bools": _plain,
    "as_string": _plain,
    "as_strings": _plain,
    "as_sym_int": _symbolic,
    "as_sym_ints": _every(_symbolic),
    "as_sym_float": _symbolic,
    "as_sym_floats": _every(_symbolic),
    "as_sym_bool": _symbolic,
    "as_sym_bools": _every(_symbolic),
    "as_scalar_type": lambda value, look: SCALAR_TYPES[value],
    # Memory layouts and devices are nothing to a graph that follows its input.
    "as_memory_format": lambda value, look: None,
    "as_layout": lambda value, look: None,
    "as_device": lambda value, look: None,
}
"""What each member of the schema's union Argument means."""


def names_in(document: Any) -> list[str]:
    """Return the names of the program's values in the JSON of an argument or output."""
    if isinstance(document, dict):
        own = [document[key] for key in ("name", "as_name") if isinstance(document.get(key), str)]
        return own + [name for value in document.values() for name in names_in(value)]
    if isinstance(document, list):
        return [name for part in document for name in names_in(part)]
    return []

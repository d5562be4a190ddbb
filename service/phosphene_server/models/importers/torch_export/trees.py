"""What the parts of a nested result are called."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

MAXIMUM_DEPTH = 100
"""Containers in containers."""


def leaf_names(specification: str, *, name: str) -> list[str]:
    """Return the names of the leaves of a tree that torch.export wrote: `name`, `name_0`, or the keys of a dictionary.

    What is inside a dictionary in another is `outer.inner`.

    Args:
        specification: JSON, `[version, {"type": ..., "context": ..., "children_spec": [...]}]`.
        name: The name of a tree that is one leaf.

    Raises:
        ValueError: the tree is nested too deep.
    """
    tree = json.loads(specification)[1]
    keys = _keys(tree)
    if not keys:
        return _names(tree, name, 0)
    return [leaf for key, child in zip(keys, tree["children_spec"], strict=True) for leaf in _names(child, key, 1)]


def _names(tree: Mapping[str, Any], name: str, depth: int) -> list[str]:
    if depth > MAXIMUM_DEPTH:
        raise ValueError("containers are nested too deep")
    if tree["type"] is None:
        return [name]
    children = tree["children_spec"]
    keys = [f"{name}.{key}" for key in _keys(tree)] or [f"{name}_{index}" for index in range(len(children))]
    return [leaf for key, child in zip(keys, children, strict=True) for leaf in _names(child, key, depth + 1)]


def _keys(tree: Mapping[str, Any]) -> Sequence[str]:
    """Return the keys of a dictionary; nothing for a list or tuple, or a class of the author's that says nothing."""
    try:
        keys = json.loads(tree["context"])
    except (TypeError, ValueError):
        return []
    fitting = isinstance(keys, list) and len(keys) == len(tree["children_spec"])
    return keys if fitting and all(isinstance(key, str) for key in keys) else []

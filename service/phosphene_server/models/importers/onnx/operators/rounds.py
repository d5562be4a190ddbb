"""What a loop may take: a file can ask for an endless one, or for one that grows without bound."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor

from phosphene_server.errors import UnsupportedModel

MAXIMUM_ROUNDS = 100_000
"""How often the bodies of a loop and of all loops inside of it are evaluated at most."""

MAXIMUM_ELEMENTS = 2**28
"""Elements of what a loop carries from one round to the next and of what it collects; a gigabyte in float32."""

_ROUNDS_LEFT: ContextVar[int | None] = ContextVar("rounds_left", default=None)
"""What is left of the rounds of the outermost loop that is running; None outside of loops."""


class _EndlessLoop(Exception):
    """A loop took too many rounds, or too much memory."""


@contextmanager
def counted_rounds(model: str, node: str) -> Iterator[None]:
    """Let a loop run; the outermost one brings the rounds that those inside of it share.

    Args:
        model: The name of the model, for errors.
        node: The name of the node, for errors.

    Raises:
        UnsupportedModel: it takes too many rounds, or too much memory.
    """
    token = _ROUNDS_LEFT.set(MAXIMUM_ROUNDS) if _ROUNDS_LEFT.get() is None else None
    try:
        yield
    except _EndlessLoop as error:
        detail = "it uses operators in ways that are not supported"
        raise UnsupportedModel(model, detail, ((f"a loop with {error}", (node,)),)) from None
    finally:
        if token is not None:
            _ROUNDS_LEFT.reset(token)


def count_round(*values: Any) -> None:
    """Count a round of a loop that runs within `counted_rounds`. `values`: what it carries and has collected so far."""
    left = _ROUNDS_LEFT.get() or 0
    if left < 1:
        raise _EndlessLoop(f"more than {MAXIMUM_ROUNDS} rounds")
    _ROUNDS_LEFT.set(left - 1)
    if _elements(values) > MAXIMUM_ELEMENTS:
        raise _EndlessLoop(f"more than {MAXIMUM_ELEMENTS} elements that it carries or collects")


def _elements(value: Any) -> int:
    """Return about how many elements there are; those of a long list are taken to be like its last."""
    if isinstance(value, Tensor):
        return value.numel()
    if isinstance(value, tuple):
        return sum(_elements(part) for part in value)
    return len(value) * _elements(value[-1]) if isinstance(value, list) and value else 0

"""Pages of a list, and the tokens that ask for the next one."""

from collections.abc import Sequence
from typing import TypeVar

from phosphene_server.errors import InvalidArgument

Item = TypeVar("Item")


def page_of(items: Sequence[Item], *, start: int, size: int) -> tuple[Sequence[Item], bool]:
    """Return the items of a page and whether more follow."""
    return items[start : start + size], start + size < len(items)


def number_of(token: str) -> int | None:
    """Return the number that a page token holds, None for an empty one.

    Raises:
        InvalidArgument: the token is not one of ours.
    """
    if not token:
        return None
    if not (token.isascii() and token.isdigit() and len(token) <= 18):
        raise InvalidArgument("page_token", repr(token[:60]), "the next_page_token of an earlier response, or nothing")
    return int(token)

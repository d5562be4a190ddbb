"""The filters that a request chooses."""

from collections.abc import Sequence

from phosphene_server.errors import InvalidArgument


def choose(indices: Sequence[int], count: int, *, field: str, layer: str) -> list[int]:
    """Return the chosen indices, or all of them where none is given.

    Args:
        indices: What the request gives; it may repeat itself.
        count: The number of filters of the layer.
        field: The path of `indices` in the request.
        layer: The name of the layer, for the message.

    Raises:
        InvalidArgument: an index is out of range.
    """
    for position, index in enumerate(indices):
        if not 0 <= index < count:
            expected = f"the index of one of the {count} filters of layer {layer!r}, 0 to {count - 1}"
            raise InvalidArgument(f"{field}[{position}]", str(index), expected)
    return list(indices) or list(range(count))

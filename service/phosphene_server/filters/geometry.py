"""How much of an axis a kernel covers, and how often it fits there."""


def span(taps: int, dilation: int) -> int:
    """Return the pixels that a kernel covers along an axis, from its first tap to its last."""
    return (taps - 1) * dilation + 1


def positions(length: int, taps: int, *, stride: int, dilation: int) -> int:
    """Return how often a kernel fits along an axis of the bordered picture; 0 or less where it does not fit."""
    return (length - span(taps, dilation)) // stride + 1

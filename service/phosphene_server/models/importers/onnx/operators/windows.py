"""Windows that slide over spatial axes: what convolutions, pools and their inverses have in common."""

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation


class Window(NamedTuple):
    """How a kernel slides, one entry per spatial axis. A tuple, so that it can be an argument of an fx node."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    """Padding before each axis."""
    after: tuple[int, ...]
    """Padding after each axis."""
    automatic: str = "NOTSET"
    """The attribute auto_pad: SAME_UPPER and SAME_LOWER take the place of `before` and `after`."""

    @property
    def same(self) -> bool:
        """Whether the padding follows from the size of the input."""
        return self.automatic in ("SAME_UPPER", "SAME_LOWER")

    @property
    def symmetric(self) -> bool:
        """Whether the padding is known and the same on both sides."""
        return not self.same and self.before == self.after

    @property
    def negative_padding(self) -> list[int]:
        """What crops the padding off again, as `F.pad` takes it."""
        return padding_list([-count for count in self.before], [-count for count in self.after])

    def padding(self, lengths: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the padding before and after, for an input of some lengths.

        SAME gives ceil(length / stride) positions; an odd element goes to the end with SAME_UPPER, else to the
        beginning.
        """
        if not self.same:
            return self.before, self.after
        axes = zip(lengths, self.kernel, self.stride, self.dilation, strict=True)
        total = [
            max((-(-length // step) - 1) * step + (width - 1) * spread + 1 - length, 0)
            for length, width, step, spread in axes
        ]
        smaller, larger = tuple(count // 2 for count in total), tuple(count - count // 2 for count in total)
        return (smaller, larger) if self.automatic == "SAME_UPPER" else (larger, smaller)


def window_of(operation: Operation, kernel: Sequence[int]) -> Window:
    """Return the window that the attributes of a node describe.

    Raises:
        ValueError: an attribute has not one entry per axis, or two.
    """
    axes = len(kernel)
    automatic: str = operation.attribute("auto_pad", "NOTSET")
    pads = operation.attribute("pads", [0] * 2 * axes) if automatic == "NOTSET" else [0] * 2 * axes
    window = Window(
        tuple(kernel),
        tuple(operation.attribute("strides", [1] * axes)),
        tuple(operation.attribute("dilations", [1] * axes)),
        tuple(pads[:axes]),
        tuple(pads[axes:]),
        automatic,
    )
    if not len(window.stride) == len(window.dilation) == len(window.after) == axes:
        raise ValueError(f"strides, dilations or pads do not fit a kernel of {axes} axes")
    return window


def padding_list(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Return padding in the order of `F.pad`: the last axis first, before and after side by side."""
    return [count for pair in reversed(list(zip(before, after, strict=True))) for count in pair]


def pad_same(tensor: Tensor, window: Window) -> Tensor:
    """Pad (batch, channel, spatial...) with zeros as the window asks for, at its size at run time."""
    return F.pad(tensor, padding_list(*window.padding(tensor.shape[2:])))

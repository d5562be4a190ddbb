"""Convolutions by oneDNN with weights that it has arranged once, not at every call.

oneDNN computes with weights in blocks that suit the processor. `torch.conv2d` arranges them anew at every call, and so
does its derivative; here it is done when they are first needed. A rectifier behind a convolution is applied while the
result is still in the registers.

The price is memory: for each direction an arranged copy of the weight, for each of at most `PACKED_SIZES` sizes, beside
the weight itself, which filters and other operations need.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

PACKED_SIZES = 2
"""For how many sizes of its input a weight stays arranged. One that was arranged for a far smaller size may take twice
the time; the number of pictures does not matter."""

Pair = tuple[int, int]
"""Along rows and along columns."""


@dataclass(frozen=True)
class Geometry:
    """How a convolution slides."""

    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1


def can_pack(weight: Tensor) -> bool:
    """Tell whether oneDNN computes with a weight of this type on its device, by operators that this torch has.

    They are those that torch's own compiler uses, and not public.
    """
    if weight.device.type != "cpu" or weight.dim() != 4 or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return False
    if not all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_convolution_weight", "_convolution_pointwise")):
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


class PackedConvolution:
    """A convolution with an arranged weight."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        geometry: Geometry,
        *,
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Take a weight (filter, channel / groups, height, width); it is arranged when it is first needed.

        Args:
            weight: The weight, or what `change` makes it of, each time when it is arranged: no copy is kept.
            bias: (filter,)
            geometry: How it slides.
            change: Makes the weight that is arranged.
        """
        self.weight = weight
        self._change = change
        self.bias = bias
        self.geometry = geometry
        self._packed: dict[Pair, Tensor] = {}
        self._channels = weight.shape[1] * geometry.groups
        # What `__call__` needs at hand: looking things up takes a tenth of the time of a small convolution.
        self._slide = (list(geometry.padding), list(geometry.stride), list(geometry.dilation), geometry.groups)
        self._convolve = torch.ops.mkldnn._convolution_pointwise.default

    def takes(self, values: Tensor) -> bool:
        """Tell whether values are what oneDNN expects: it says less well than torch what is wrong with others."""
        return values.dim() == 4 and values.shape[1] == self._channels and values.dtype == self.weight.dtype

    def __call__(self, values: Tensor, *, rectified: bool = False) -> Tensor:
        """Convolve (batch, channel, height, width), with max(0, ·) of the result where it is rectified."""
        packed = self._packed.get((values.shape[2], values.shape[3]))
        if packed is None:
            packed = self._arrange(values)
        result: Tensor = self._convolve(
            values, packed, self.bias, *self._slide, "relu" if rectified else "none", [], ""
        )
        return result

    def unpacked(self, values: Tensor) -> Tensor:
        """Convolve as torch does."""
        slide = self.geometry
        return torch.conv2d(values, self.weight, self.bias, slide.stride, slide.padding, slide.dilation, slide.groups)

    def _arrange(self, values: Tensor) -> Tensor:
        slide = self.geometry
        weight = self.weight if self._change is None else self._change(self.weight)
        packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
            weight, slide.padding, slide.stride, slide.dilation, slide.groups, list(values.shape)
        )
        if len(self._packed) == PACKED_SIZES:
            del self._packed[next(iter(self._packed))]
        self._packed[values.shape[2], values.shape[3]] = packed
        return packed

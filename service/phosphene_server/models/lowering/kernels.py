"""Convolutions with weights that are arranged once, not at every call, by oneDNN or for Winograd's algorithm.

oneDNN computes with weights in blocks that suit the processor. `torch.conv2d` arranges them anew at every call, and so
does its derivative; here it is done when they are first needed. A rectifier behind a convolution is applied while the
result is still in the registers.

The price is memory: for each direction an arranged copy of the weight, for each of at most `PACKED_SIZES` sizes, beside
the weight itself, which filters and other operations need. Where winograd.py is faster, a copy is four times as large.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from phosphene_server.models.lowering.winograd import LARGE, WEIGHTS, Pair, WinogradConvolution, can_use_winograd
from phosphene_server.models.lowering.winograd import pays as winograd_pays

PACKED_SIZES = 2
"""For how many sizes of its input a weight stays arranged. One that was arranged for a far smaller size may take twice
the time; the number of pictures does not matter."""


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


def arranged_bytes(weight: Tensor) -> int:
    """Return about the memory that is taken by what is made of a convolution's weight, for one size of its input.

    That is one copy for each direction, arranged, and one to which a normalization was folded. How the weight slides is
    not known here: it counts as one of Winograd's wherever it may be.
    """
    if not can_pack(weight):
        return weight.nbytes
    transformed = _suits_winograd(weight, Geometry(padding=(1, 1)), LARGE)
    return weight.nbytes * (1 + 2 * (WEIGHTS if transformed else 1))


def _suits_winograd(weight: Tensor, slide: Geometry, size: Pair) -> bool:
    """Tell whether Winograd's algorithm can compute a convolution of pictures of a size, and is faster."""
    possible = can_use_winograd(weight, slide.stride, slide.padding, slide.dilation, slide.groups)
    return possible and winograd_pays(weight.shape[0], weight.shape[1], size, slide.padding)


class Form(Protocol):
    """A convolution with a weight that is arranged for one size of its input."""

    def __call__(self, values: Tensor, *, rectified: bool) -> Tensor:
        """Convolve (batch, channel, height, width), with max(0, ·) of the result where it is rectified."""


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
        self._forms: dict[Pair, Form] = {}
        self._channels = weight.shape[1] * geometry.groups

    def takes(self, values: Tensor) -> bool:
        """Tell whether values are what oneDNN expects: it says less well than torch what is wrong with others."""
        return values.dim() == 4 and values.shape[1] == self._channels and values.dtype == self.weight.dtype

    def __call__(self, values: Tensor, *, rectified: bool = False) -> Tensor:
        """Convolve (batch, channel, height, width), with max(0, ·) of the result where it is rectified."""
        size = values.shape[2], values.shape[3]
        form = self._forms.get(size) or self._arrange(size, values)
        return form(values, rectified=rectified)

    def unpacked(self, values: Tensor) -> Tensor:
        """Convolve as torch does."""
        slide = self.geometry
        return torch.conv2d(values, self.weight, self.bias, slide.stride, slide.padding, slide.dilation, slide.groups)

    def _arrange(self, size: Pair, values: Tensor) -> "Form":
        """Arrange the weight for a size, in place of the one that was arranged first where there are too many."""
        weight = self.weight if self._change is None else self._change(self.weight)
        form: Form
        if _suits_winograd(weight, self.geometry, size):
            form = WinogradConvolution(weight, self.bias, self.geometry.padding, size)
        else:
            form = _OneDnn(weight, self.bias, self.geometry, values.shape)
        if len(self._forms) == PACKED_SIZES:
            del self._forms[next(iter(self._forms))]
        self._forms[size] = form
        return form


class _OneDnn:
    """A convolution by oneDNN of pictures of one size. Is a `Form`."""

    def __init__(self, weight: Tensor, bias: Tensor | None, slide: Geometry, shape: Sequence[int]) -> None:
        packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
            weight, slide.padding, slide.stride, slide.dilation, slide.groups, list(shape)
        )
        # What a call needs, at hand: looking things up takes a tenth of the time of a small convolution.
        self._arguments = (packed, bias, list(slide.padding), list(slide.stride), list(slide.dilation), slide.groups)
        self._convolve = torch.ops.mkldnn._convolution_pointwise.default

    def __call__(self, values: Tensor, *, rectified: bool) -> Tensor:
        result: Tensor = self._convolve(values, *self._arguments, "relu" if rectified else "none", [], "")
        return result

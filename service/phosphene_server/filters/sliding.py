"""How a kernel is slid over a picture: where it stands, and what it finds beyond the border."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from phosphene_server.errors import InvalidArgument
from phosphene_server.filters.borders import bordered
from phosphene_server.filters.correlation import Correlation
from phosphene_server.filters.geometry import positions, span
from phosphene_server.filters.rendering import Placement
from phosphene_server.values.kernel import ApplyKernelRequest, Extent, PaddingMode

SPAN_LIMIT = 2048
"""The most pixels that a dilated kernel covers along an axis; its Fourier transforms need memory by its square."""

BORDERED_LIMIT = 128_000_000
"""The most values of a picture with its border, over all channels that are summed: 512 MB as float32."""


@dataclass(frozen=True)
class Sliding:
    """The geometry of a request.

    The centre of a kernel that spans `n` pixels is its pixel `n // 2`, or `(n - 1) // 2` once it was turned for a
    convolution, as in SciPy: an even kernel has one pixel more above and at the left (convolution: below and at the
    right). The response has one value for each position of the centre on the picture (`valid`: for each where the whole
    kernel lies inside), of which a stride keeps every so many, from the first on.
    """

    taps: tuple[int, int]
    stride: Extent
    dilation: Extent
    padding: PaddingMode
    flip: bool

    @classmethod
    def of(cls, request: ApplyKernelRequest, taps: tuple[int, int]) -> "Sliding":
        """Return how a request slides a kernel of so many rows and columns of taps.

        Raises:
            InvalidArgument: the kernel is dilated too far.
        """
        sliding = cls(taps, request.stride, request.dilation, request.padding, request.flip)
        fields = (("rows", request.dilation.rows), ("columns", request.dilation.columns))
        for (name, dilation), count, length in zip(fields, taps, sliding.spans, strict=True):
            if length > SPAN_LIMIT:
                expected = f"at most {(SPAN_LIMIT - 1) // (count - 1)}, so that {count} taps span {SPAN_LIMIT} pixels"
                raise InvalidArgument(f"dilation.{name}", str(dilation), expected)
        return sliding

    @property
    def spans(self) -> tuple[int, int]:
        """The pixels that the kernel covers along each axis."""
        return span(self.taps[0], self.dilation.rows), span(self.taps[1], self.dilation.columns)

    @property
    def placement(self) -> Placement:
        """Where the responses lie on the picture."""
        rows, columns = self._centres()
        return Placement(first=(rows, columns) if self.padding == "valid" else (0, 0), stride=self.stride)

    def response_size(self, height: int, width: int, *, field: str) -> tuple[int, int]:
        """Return the height and width of the response of a picture.

        Raises:
            InvalidArgument: the padding is `valid` and the kernel does not fit; `field` is the path of the picture.
        """
        borders = self._borders()
        rows = positions(height + sum(borders[0]), self.taps[0], stride=self.stride.rows, dilation=self.dilation.rows)
        columns = positions(
            width + sum(borders[1]), self.taps[1], stride=self.stride.columns, dilation=self.dilation.columns
        )
        if min(rows, columns) < 1:
            expected = f"a picture of at least {self.spans[0]} x {self.spans[1]} pixels, which the kernel spans, or "
            raise InvalidArgument(field, f"{height} x {width} pixels", f"{expected}a padding other than valid")
        return rows, columns

    def correlation(self, kernels: Tensor) -> Correlation:
        """Return what slides kernels, float64 (filter, channel, height, width), in this geometry."""
        return Correlation(kernels.flip((2, 3)) if self.flip else kernels, self.stride, self.dilation)

    def check_size(self, channels: int, height: int, width: int, *, field: str) -> None:
        """Check that a picture with its border is not too large.

        Raises:
            InvalidArgument: it is; `field` is the path of the picture.
        """
        rows, columns = self._borders()
        if channels * (height + sum(rows)) * (width + sum(columns)) > BORDERED_LIMIT:
            value = f"{channels} channels of {height} x {width} pixels"
            raise InvalidArgument(field, value, f"at most {BORDERED_LIMIT:,} values with the border of the kernel")

    def pieces(self, height: int, width: int, correlation: Correlation) -> Iterator[tuple[int, int]]:
        """Yield the first row of the response, and the one behind the last, of pieces that take a short time each.

        Args:
            height: The height of the response.
            width: The width of the picture.
            correlation: What slides the kernels.
        """
        step = correlation.rows_at_once(width + sum(self._borders()[1]))
        for first in range(0, height, step):
            yield first, min(first + step, height)

    def under(self, picture: Tensor, first: int, last: int) -> Tensor:
        """Return what the kernels cover, with the border, where they answer some rows of the response.

        Args:
            picture: (channel, height, width).
            first: The first row of the response.
            last: The row behind the last.
        """
        (top, _), columns = self._borders()
        rows = range(first * self.stride.rows - top, (last - 1) * self.stride.rows - top + self.spans[0])
        if self.padding == "valid":
            return picture[:, rows.start : rows.stop]
        return bordered(picture, self.padding, rows=rows, columns=columns)

    def _centres(self) -> tuple[int, int]:
        rows, columns = self.spans
        return ((rows - 1) // 2, (columns - 1) // 2) if self.flip else (rows // 2, columns // 2)

    def _borders(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the pixels added before and after the picture, along each axis."""
        if self.padding == "valid":
            return (0, 0), (0, 0)
        (top, left), (rows, columns) = self._centres(), self.spans
        return (top, rows - 1 - top), (left, columns - 1 - left)

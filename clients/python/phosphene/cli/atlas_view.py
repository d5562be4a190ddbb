"""What the terminal shows while an atlas is drawn: how far it is, and the finished pictures, row after row."""

import math
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from phosphene.cli.consoles import notices
from phosphene.cli.progress import LineDisplay
from phosphene.layers import LayerFailure, LayerPicture, LayerProgress, LayerWarning

_TILES = (24, 16, 8)
"""Sides of a picture in the terminal, in pixels: characters of its width. Below 8 nothing can be seen in it."""
_MOST_LINES = 100
"""Lines that all pictures take at most, unless they are of the smallest size."""
_MOST_OF_A_KIND = 5
"""Failures or warnings of one kind that are shown."""


class AtlasView(Protocol):
    """Shows how far an atlas is."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def progressed(self, progress: LayerProgress) -> None:
        """Take how far it is."""

    def finished(self, picture: LayerPicture) -> None:
        """Take a picture."""

    def failed(self, failure: LayerFailure) -> None:
        """Take that a channel has none."""

    def warned(self, warning: LayerWarning) -> None:
        """Take a warning."""


def atlas_view(layer: str, channels: Sequence[int], missing: Sequence[int]) -> AtlasView:
    """The view that suits standard error.

    Args:
        layer: Its name.
        channels: The channels of the atlas.
        missing: Those that are drawn now, in their order.
    """
    console = notices()
    view = TerminalView if console.is_terminal else LineView
    return view(console, layer, missing, there=len(channels) - len(missing))


class _Notices:
    """Tells what goes wrong, without filling the terminal when it does so hundreds of times."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: Counter[str] = Counter()

    def failed(self, failure: LayerFailure) -> None:
        """Take that a channel has none."""
        self._tell("red", "failed", failure.reason, failure.channel, failure.message)

    def warned(self, warning: LayerWarning) -> None:
        """Take a warning."""
        self._tell("yellow", "warning", warning.reason, warning.channel, warning.message)

    def _tell(self, colour: str, what: str, reason: str, channel: int, message: str) -> None:
        self._told[reason] += 1
        if self._told[reason] <= _MOST_OF_A_KIND:
            self._console.print(f"[{colour}]{what}:[/{colour}] channel {channel}: {escape(message)}")
        elif self._told[reason] == _MOST_OF_A_KIND + 1:
            self._console.print(f"[{colour}]{what}:[/{colour}] ... and more channels, {escape(reason)}")


class LineView(_Notices):
    """A line at each quarter."""

    def __init__(self, console: Console, layer: str, missing: Sequence[int], *, there: int) -> None:
        """Take the channels that are drawn now, and how many pictures were there before."""
        super().__init__(console)
        self._display = LineDisplay(console)
        self._number = self._display.add(layer, total=there + len(missing))
        self._there = there

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def progressed(self, progress: LayerProgress) -> None:
        """Take how far it is."""
        self._display.update(self._number, completed=self._there + progress.finished, note=pace(progress))

    def finished(self, picture: LayerPicture) -> None:
        """Take a picture; only their number is told."""


class TerminalView(_Notices):
    """A bar with the speed and the time left, and above it the pictures that are finished."""

    def __init__(self, console: Console, layer: str, missing: Sequence[int], *, there: int) -> None:
        """Take the channels that are drawn now, and how many pictures were there before."""
        super().__init__(console)
        self._there, self._count = there, there + len(missing)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=console,
        )
        self._task = self._bar.add_task(layer, total=None, note="")
        self._rows = PictureRows(missing, width=console.width)
        # Half blocks without colours, or in an encoding that has none, show nothing.
        self._shows_pictures = console.color_system is not None and not console.options.ascii_only

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._print(self._rows.rest())
        self._bar.stop()

    def progressed(self, progress: LayerProgress) -> None:
        """Take how far it is."""
        count = f"{self._there + progress.finished}/{self._count} pictures"
        note = ", ".join(filter(None, (count, pace(progress), time_left(progress))))
        self._bar.update(self._task, total=progress.steps, completed=progress.step, note=note)

    def finished(self, picture: LayerPicture) -> None:
        """Put a picture into its row."""
        self._print(self._rows.put(picture.channel, picture.image))

    def failed(self, failure: LayerFailure) -> None:
        """Take that a channel has none; its place stays empty."""
        super().failed(failure)
        self._print(self._rows.put(failure.channel, None))

    def _print(self, rows: Sequence[Text]) -> None:
        if self._shows_pictures:
            for row in rows:
                self._console.print(row)


class PictureRows:
    """Small pictures in rows, each above its number, in half blocks: a character shows a pixel and the one below it.

    A row is told when the last of its pictures is there, so that each is written once, however many there are.
    """

    def __init__(self, channels: Sequence[int], *, width: int) -> None:
        """Take the channels in their order, and how many characters a line has."""
        self._tile = tile_side(len(channels), width=width)
        across = _across(self._tile, width)
        self._rows = deque(channels[start : start + across] for start in range(0, len(channels), across))
        self._pictures: dict[int, Image.Image | None] = {}

    def put(self, channel: int, picture: Image.Image | None) -> Sequence[Text]:
        """Take a picture, or None for a channel that gets none; returns the rows that are complete now."""
        self._pictures[channel] = picture
        complete = []
        while self._rows and all(channel in self._pictures for channel in self._rows[0]):
            complete.append(self._text(self._rows.popleft()))
        return complete

    def rest(self) -> Sequence[Text]:
        """The rows that have some of their pictures, and will get no more."""
        begun = [row for row in self._rows if any(self._pictures.get(channel) for channel in row)]
        self._rows.clear()
        return [self._text(row) for row in begun]

    def _text(self, row: Sequence[int]) -> Text:
        shown = {channel: self._small(picture) for channel in row if (picture := self._pictures.get(channel))}
        text = Text(no_wrap=True)
        for top in range(0, max((small.height for small in shown.values()), default=0), 2):
            for channel in row:
                text.append_tokens(_line(shown[channel], top) if channel in shown else [(" " * self._tile, None)])
                text.append(" " if channel != row[-1] else "\n")
        return text.append(" ".join(f"{channel:^{self._tile}}" for channel in row), "dim")

    def _small(self, picture: Image.Image) -> Image.Image:
        lines = max(1, round(self._tile * picture.height / picture.width / 2))
        return picture.convert("RGB").resize((self._tile, 2 * lines), Image.Resampling.BOX)


def tile_side(count: int, *, width: int) -> int:
    """The width of each of so many pictures, in characters, where a line has `width` of them."""
    for side in _TILES:
        lines = math.ceil(count / _across(side, width)) * (side // 2 + 1)
        if side <= width and lines <= _MOST_LINES:
            return side
    return _TILES[-1]


def _across(side: int, width: int) -> int:
    """How many pictures fit beside one another, with a gap between them; one at least."""
    return max(1, (width + 1) // (side + 1))


def _line(picture: Image.Image, top: int) -> Iterator[tuple[str, str]]:
    """The characters that show two lines of pixels, with their colours."""
    pixels = picture.load()
    assert pixels is not None
    for column in range(picture.width):
        yield "▀", f"{_hex(pixels[column, top])} on {_hex(pixels[column, top + 1])}"


def pace(progress: LayerProgress) -> str:
    """The speed, in words, or that it waits; empty while nothing is known."""
    if progress.queue_position:
        return f"waits, number {progress.queue_position} in the queue"
    return f"{progress.pictures_per_minute:.1f} pictures/min" if progress.pictures_per_minute else ""


def time_left(progress: LayerProgress) -> str:
    """The time left, in words; empty while it is not known."""
    if progress.remaining_seconds is None:
        return ""
    minutes, seconds = divmod(round(progress.remaining_seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d} left" if hours else f"{minutes}:{seconds:02d} left"


def _hex(pixel: object) -> str:
    assert isinstance(pixel, tuple)
    return "#{:02x}{:02x}{:02x}".format(*pixel)

"""Progress of running jobs: bars on a terminal, a line now and then elsewhere."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from phosphene.cli.consoles import notices


class Display(Protocol):
    """Shows how far several things are; `update` may be called as often as one likes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def add(self, title: str, *, total: int) -> int:
        """Begin something; returns its number."""

    def update(self, number: int, *, completed: int, note: str = "") -> None:
        """Tell how far it is."""


def display() -> Display:
    """The display that suits standard error."""
    console = notices()
    return BarDisplay(console) if console.is_terminal else LineDisplay(console)


class BarDisplay:
    """One bar for each thing."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            TimeRemainingColumn(compact=True),
            console=console,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def add(self, title: str, *, total: int) -> int:
        """Begin something; returns its number."""
        return self._bars.add_task(title, total=total, note="")

    def update(self, number: int, *, completed: int, note: str = "") -> None:
        """Tell how far it is."""
        self._bars.update(TaskID(number), completed=completed, note=note)


class LineDisplay:
    """A line at each quarter of each thing."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._things: list[tuple[str, int]] = []
        self._quarters: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def add(self, title: str, *, total: int) -> int:
        """Begin something; returns its number."""
        self._things.append((title, total))
        self._quarters.append(0)
        return len(self._things) - 1

    def update(self, number: int, *, completed: int, note: str = "") -> None:
        """Tell how far it is."""
        title, total = self._things[number]
        quarter = 4 * completed // max(total, 1)
        if quarter > self._quarters[number]:
            self._quarters[number] = quarter
            self._console.print(f"{title}: {completed}/{total}  {note}".rstrip(), markup=False)

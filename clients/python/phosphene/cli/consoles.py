"""Where the commands write: results to standard output, everything else to standard error."""

from rich.console import Console
from rich.markup import escape

_PIPE_COLUMNS = 250


def output() -> Console:
    """The console of results; where nobody watches, tables are as wide as they need, so that they can be piped on."""
    console = Console(highlight=False, emoji=False, soft_wrap=True)
    return (
        console if console.is_terminal else Console(highlight=False, emoji=False, soft_wrap=True, width=_PIPE_COLUMNS)
    )


def notices() -> Console:
    """The console of progress and complaints."""
    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def complain(error: Exception) -> None:
    """Write an error as one clear line."""
    notices().print(f"[bold red]error:[/bold red] {escape(str(error))}")

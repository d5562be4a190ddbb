"""Numbers as they are written on a command line."""

import typer


def whole_numbers(text: str, *, option: str) -> tuple[int, ...]:
    """The numbers of `0,3,5`; none of an empty text."""
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise typer.BadParameter(
            f"expected whole numbers separated by commas, such as 0,3,5, got {text!r}", param_hint=option
        ) from error


def picture_size(text: str, *, option: str) -> tuple[int, int] | None:
    """(height, width) of `96` or `96x128`; None of an empty text."""
    if not text:
        return None
    try:
        sides = [int(part) for part in text.lower().split("x")]
        height, width = sides if len(sides) == 2 else (sides[0], sides[0])
    except ValueError as error:
        raise typer.BadParameter(
            f"expected pixels such as 96, or HEIGHTxWIDTH such as 96x128, got {text!r}", param_hint=option
        ) from error
    if len(sides) > 2:
        raise typer.BadParameter(f"expected one number or HEIGHTxWIDTH, got {text!r}", param_hint=option)
    return height, width

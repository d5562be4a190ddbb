"""Kernels as they are written on a command line."""

import numpy as np
import typer

from phosphene.kernels import Kernel, layer_kernel


def parse_kernel(text: str) -> Kernel:
    """Read a kernel.

    Args:
        text: `laplacian`, a name; `0,1,0;1,-4,1;0,1,0`, its rows; `shapes:conv1`, the filters of a layer; or
            `shapes:conv1:3,5`, some of them.
    """
    if ":" in text:
        return _layer_kernel(text)
    if ";" in text or "," in text:
        return _rows(text)
    return text  # type: ignore[return-value]  # the client refuses an unknown name and lists those that there are


def _layer_kernel(text: str) -> Kernel:
    model, _, rest = text.partition(":")
    layer, _, filters = rest.rpartition(":")
    if layer and all(part.isdecimal() for part in filters.split(",")):
        return layer_kernel(model, layer, filters=[int(part) for part in filters.split(",")])
    return layer_kernel(model, rest)


def _rows(text: str) -> Kernel:
    try:
        rows = [[float(number) for number in row.split(",")] for row in text.split(";")]
        return np.array(rows, dtype=np.float32)
    except ValueError as error:
        expected = "rows of numbers, all as long, such as 0,1,0;1,-4,1;0,1,0"
        raise typer.BadParameter(f"expected {expected}, got {text!r}", param_hint="KERNEL") from error

"""The table of a model's layers, as `phosphene models show` prints it."""

from rich.table import Table

from phosphene.models import Layer

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K"))

WIDE_COLUMNS = 100
"""Columns of a terminal that has room for everything."""

NO_GRADIENT = "no gradient"
"""In place of the receptive field of a layer that cannot be maximized."""


def layer_table(layers: tuple[Layer, ...], *, width: int) -> Table:
    """One line per layer.

    Names and numbers stay whole and words fold; where the terminal is narrower than that looks well, the shapes of the
    filters are left out: `phosphene filters` shows them.
    """
    wide = width >= WIDE_COLUMNS
    table = Table(box=None, pad_edge=False)
    table.add_column("layer", no_wrap=True)  # A name is only of use when it is whole.
    for heading in ("kind", "shape", "filters") if wide else ("kind", "shape"):
        table.add_column(heading, overflow="fold")
    table.add_column("sees", no_wrap=True)
    for heading in ("MACs", "parameters"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in layers:
        shapes = (layer.shape, layer.filter_shape) if wide else (layer.shape,)
        field = str(layer.receptive_field or "") if layer.gradient_reaches_input else NO_GRADIENT
        costs = short_number(layer.multiply_accumulates), f"{layer.parameter_count:,}" if layer.parameter_count else ""
        table.add_row(layer.name, layer.kind, *map(_times, shapes), field, *costs)
    return table


def short_number(number: int) -> str:
    """A number in three digits, `1.5G`; nothing for 0."""
    for size, unit in _UNITS:
        # What would round up to 1000 of a unit is 1 of the next.
        if number >= size * 0.9995:
            return f"{number / size:.3g}{unit}"
    return str(number) if number else ""


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))

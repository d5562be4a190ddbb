"""What `phosphene models check` found, as tables for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

Document = Mapping[str, Any]


def report_tables(report: Document, *, layers: bool) -> Iterator[Table]:
    """The facts, and the table of the layers where it is asked for and there is one."""
    yield _facts(report)
    if layers and report["model"] is not None:
        yield _layers(report["model"]["layers"])


def _facts(report: Document) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for heading, text in _rows(report):
        table.add_row(heading, text)
    return table


def _rows(report: Document) -> Iterator[tuple[str, str]]:
    yield "file", escape(report["file"])
    if report["format"]:
        written = f" ({report['written_as']})" if report["written_as"] else ""
        yield "format", escape(f"{report['format']}{written}, {report['size_bytes']:,} bytes")
    if report["model"] is not None:
        yield from _model_rows(report["model"])
    for index, (operator, nodes) in enumerate(report["missing_operators"]):
        yield "" if index else "missing", f"[bold]{escape(operator)}[/bold] in {escape(', '.join(nodes))}"
    if report["gradient"] is not None:
        yield "gradient", _gradient(report["gradient"])
    if report["seconds"]:
        yield "seconds", ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in report["seconds"].items())
    for remark in report["remarks"]:
        yield "remark", escape(remark)
    for problem in report["problems"]:
        yield "[bold red]problem[/bold red]", escape(problem)
    if report["passed"]:
        yield "[bold green]passed[/bold green]", "it can be used"


def _model_rows(model: Document) -> Iterator[tuple[str, str]]:
    if model["producer"]:
        yield "producer", escape(model["producer"])
    for role in ("inputs", "outputs"):
        for index, tensor in enumerate(model[role]):
            yield "" if index else role, escape(_tensor(tensor))
    yield "pictures", _pictures(model["preprocessing"])
    yield "batch", _batch(model)
    yield "layers", f"{len(model['layers'])}, with {model['parameter_count']:,} parameters"
    if model["logits_layer"]:
        yield "logits", escape(model["logits_layer"])
    yield "parity", escape(_parity(model))


def _tensor(tensor: Document) -> str:
    shape = ", ".join("any" if length < 0 else str(length) for length in tensor["shape"])
    return f"{tensor['name']}: {tensor['data_type']} ({shape})"


def _pictures(preprocessing: Document) -> str:
    height, width = preprocessing["size"]["height"], preprocessing["size"]["width"]
    others = "others are resized to it" if preprocessing["fixed_size"] else "other sizes as they are"
    return f"{preprocessing['channel_order'].upper()}, {height} x {width} pixels (height x width); {others}"


def _batch(model: Document) -> str:
    if model["batch_handling"] == "any":
        return "any number of pictures at once"
    return f"the file takes {model['fixed_batch_size']} at a time; larger batches are split"


def _parity(model: Document) -> str:
    parity = model["parity"]
    if parity is None:
        return f"not measured: {model['parity_note']}"
    return f"within {parity['largest_deviation']:.1e} of {parity['output_scale']:.3g} of {parity['runtime']}"


def _gradient(check: Document) -> str:
    if not check["reaches_input"] or check["relative_error"] is None:
        return "none reaches the input"
    directions = f"{check['directions']} random directions"
    return f"relative error {check['relative_error']:.1e} against central differences in float64, along {directions}"


def _layers(layers: list[Document]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("layer", "kind", "shape"):
        table.add_column(heading, no_wrap=heading == "layer", overflow="fold")
    table.add_column("parameters", justify="right")
    for layer in layers:
        count = f"{layer['parameter_count']:,}" if layer["parameter_count"] else ""
        table.add_row(escape(layer["name"]), layer["kind"], " x ".join(map(str, layer["shape"])), count)
    return table

"""The examination of a file: imports it as the service would, measures it, and tells what was found.

    python -m phosphene_server.workbench.examination FILE --name NAME --manifest FILE --memory-bytes BYTES

It runs in a process of its own, within limits: a file may ask for terabytes, or loop. The stage that begins is told on
standard error as `stage: parity`, the report on standard output as JSON.
"""

import argparse
import hashlib
import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch

from phosphene_server.errors import ModelUnusable, ParityFailure, PhospheneError, UnsupportedModel
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.inputs import Reading, read_inputs
from phosphene_server.models.loading import compare, describe, import_file
from phosphene_server.models.manifest import Manifest, parse_manifest
from phosphene_server.models.parity import Comparison, GradientCheck, check_gradient
from phosphene_server.models.probing import Probe, probe
from phosphene_server.models.repository import PROGRAMS, model_source
from phosphene_server.values.model import ModelReference
from phosphene_server.values.work import ModelSource
from phosphene_server.workbench.formats import format_of, written_as
from phosphene_server.workbench.report import Report

LARGEST_GRADIENT_ERROR = 2e-2
"""Relative error of the gradient that is accepted: where a few units change sides, right gradients are off by 1e-3."""

STEPPED = frozenset({torch.round, torch.floor, torch.ceil, torch.sign, torch.trunc})
STEPPED_NAMES = ("quantize", "straight")
"""Operations whose value moves in steps, and parts of the names of those that importers bring along for quantized
networks; what is given for their gradient is meant to differ."""


REFUSED_MEMORY = ("can't allocate memory", "bad_alloc", "bad allocation", "Failed to allocate memory")
"""What PyTorch, C++ and ONNX Runtime say when they get no memory."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Examine a file, print the report, and return the exit code: 1 where it cannot be used."""
    options = _parser().parse_args(arguments)
    _limit_memory(options.memory_bytes)
    report = examine(options.file, name=options.name, manifest_path=options.manifest, size=options.size)
    print(json.dumps(report.document()))
    return 0 if report.passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="examination")
    parser.add_argument("file", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--size", type=int, nargs=2)
    parser.add_argument("--memory-bytes", type=int, required=True)
    return parser


def _limit_memory(additional_bytes: int) -> None:
    """Allow this process so much more private memory than it holds; beyond that, allocations fail.

    The address space would be the wrong thing to limit: CUDA reserves terabytes of it and uses none. What counts here
    is private writable memory (RLIMIT_DATA, Linux 4.7 and later), so that asking for too much fails at once, with an
    error that names the stage, where a watch over resident memory would come too late.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return
    lines = status.read_text(encoding="utf-8").splitlines()
    held = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (held + additional_bytes, held + additional_bytes))


def examine(path: Path, *, name: str, manifest_path: Path | None, size: Sequence[int] | None) -> Report:
    """Return the report on a file.

    Args:
        path: The file.
        name: What messages call it.
        manifest_path: Its manifest; None: the `manifest.yaml` beside the file, or none.
        size: Height and width of the picture that is shown to it, in pixels, in place of the manifest's.
    """
    report = Report(str(path), name)
    try:
        _examine(report, path, manifest_path, size)
    except UnsupportedModel as error:
        report.missing_operators = error.operators
        report.problems.append(_problem(error.detail))
    except ModelUnusable as error:
        report.problems.append(_problem(error.detail))
    except PhospheneError as error:
        report.problems.append(_problem(str(error)))
    except MemoryError:
        report.problems.append("it needs more memory than the limit")
    except Exception as error:  # a fault of ours, or memory that a library asked for in vain: still one clear line
        report.problems.append(_problem(f"it cannot be used ({type(error).__name__}: {error})"))
    return report


def _examine(report: Report, path: Path, manifest_path: Path | None, size: Sequence[int] | None) -> None:
    with _stage(report, "read"):
        source = _source(report, path, manifest_path, size)
    with _stage(report, "import"):
        graph = import_file(source)
    with _stage(report, "probe"):
        reading = read_inputs(source, graph.inputs)
        probed = probe(graph, reading, name=report.name)
        reading = replace(reading, preprocessing=probed.preprocessing)
    with _stage(report, "parity"):
        comparison = _compare(report, source, graph, probed)
    report.model = asdict(replace(describe(source, graph, reading, probed, comparison), labels=source.labels))
    with _stage(report, "gradient"):
        _check_gradient(report, graph, reading, probed, comparison)


@contextmanager
def _stage(report: Report, stage: str) -> Iterator[None]:
    print(f"stage: {stage}", file=sys.stderr, flush=True)
    started = time.perf_counter()
    try:
        yield
    finally:
        report.seconds[stage] = time.perf_counter() - started


def _source(report: Report, path: Path, manifest_path: Path | None, size: Sequence[int] | None) -> ModelSource:
    """Return what the repository would say of the file, trusted or not."""
    kind = format_of(path, name=report.name)
    report.format = kind
    report.written_as = written_as(path, kind)
    report.size_bytes = path.stat().st_size
    with path.open("rb") as stream:
        report.sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    beside = path.parent / "manifest.yaml"
    chosen = manifest_path or (beside if beside.is_file() else None)
    manifest = parse_manifest(chosen, name=report.name) if chosen else Manifest()
    if size is not None:
        manifest = replace(manifest, input=replace(manifest.input, size=(size[0], size[1])))
    if kind in PROGRAMS and not manifest.trusted:
        report.remarks.append(
            "to be served, its manifest must say `trusted: true`, for files of this format are programs"
        )
    folder = chosen.parent if chosen else path.parent
    reference = ModelReference(report.name, "1", kind)
    return model_source(reference, path, manifest, folder=folder, sha256=report.sha256)


def _compare(report: Report, source: ModelSource, graph: ModelGraph, probed: Probe) -> Comparison:
    """Compare with the original runtime; a graph that departs is a problem, but the examination goes on."""
    try:
        comparison = compare(source, graph, probed.inputs)
    except ParityFailure as error:
        report.departing_layer = error.layer
        report.problems.append(error.detail)
        return Comparison(None, error.detail)
    if comparison.parity is None:
        report.remarks.append(f"not compared with the original runtime: {comparison.note}")
    return comparison


def _check_gradient(report: Report, graph: ModelGraph, reading: Reading, probed: Probe, comparison: Comparison) -> None:
    if reading.picture is None:
        report.remarks.append("it reads no pictures, so no gradient towards one was checked")
        return
    check = check_gradient(graph, probed.inputs, varied=reading.picture)
    report.gradient = asdict(check)
    complaint = _complaint(check)
    if comparison.parity is not None and comparison.parity.output_scale == 0:
        report.remarks.append("its outputs are all zero for a random picture, so their gradient says nothing")
    elif complaint and _has_steps(graph):
        report.remarks.append(f"{complaint}, as it must where operations round")
    elif complaint:
        report.problems.append(complaint)


def _complaint(check: GradientCheck) -> str:
    if not check.reaches_input:
        return "no gradient reaches its input"
    if not check.relative_error <= LARGEST_GRADIENT_ERROR:
        return f"its gradient departs from differences of its values by {check.relative_error:.1%}"
    return ""


def _has_steps(graph: ModelGraph) -> bool:
    targets = {node.target for node in graph.module.graph.nodes if node.op == "call_function"}
    names = {getattr(target, "__name__", "") for target in targets}
    return bool(targets & STEPPED) or any(part in name for name in names for part in STEPPED_NAMES)


def _problem(text: str) -> str:
    """Return one line; what the C++ side of a library says when memory is refused is said plainly."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "it cannot be used")
    return f"it needs more memory than the limit: {line}" if any(words in line for words in REFUSED_MEMORY) else line


if __name__ == "__main__":
    sys.exit(main())

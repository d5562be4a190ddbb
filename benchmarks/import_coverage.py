"""How much of what people have the importers load, and how exactly.

Three tables: the node tests of the ONNX project, beside onnx2torch in the same run; architectures of torchvision and
timm in every format, against eager PyTorch in float64; and the files of the hostile corpus. Prints them, and writes all
numbers to `benchmarks/results/import_coverage.json` and the tables to `docs/import-coverage.md`.

    python benchmarks/import_coverage.py                          everything; about an hour the first time on two cores
    python benchmarks/import_coverage.py --only architectures --architecture torchvision:resnet18

Exported files are kept in `build/import_coverage` and used again. Every architecture and every file that means harm is
dealt with in a process of its own, so that a crash costs one row. Needs timm and onnx2torch.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx2torch
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from benchmarks.import_architectures import ARCHITECTURES, FILES, export_unfolded, folder_of, projection  # noqa: E402
from phosphene_server.models.loading import load_model  # noqa: E402
from phosphene_server.models.manifest import InputManifest, Manifest  # noqa: E402
from phosphene_server.models.repository import model_source  # noqa: E402
from phosphene_server.values.model import ModelReference  # noqa: E402
from phosphene_server.values.work import ModelSource  # noqa: E402
from tests.unit.models.importers import onnx_node_tests  # noqa: E402

EXPORTS = ROOT / "build" / "import_coverage"
RESULTS = ROOT / "benchmarks" / "results" / "import_coverage.json"
SUMMARY = ROOT / "docs" / "import-coverage.md"
EXPORT_SECONDS = 900
MEASURE_SECONDS = 600
FOLDED = 1e-5
"""Deviations of a gradient above this are looked into: the exporter folds batch normalization in float32, and then a
pre-activation next to zero may fall on the other side of a ReLU."""

UNFOLDED = "unfolded"
HARMLESS = "loads, harmlessly"

Row = dict[str, Any]


def main() -> None:
    options = arguments()
    if options.measure:
        architecture, model_format = options.measure
        print(json.dumps(measure(architecture, model_format)))
        return
    report: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    report["environment"] = environment()
    if options.only in (None, "nodes"):
        report["nodes"] = node_tests()
    if options.only in (None, "architectures"):
        chosen = options.architecture or ARCHITECTURES
        report["architectures"] = report.get("architectures", {}) | {name: formats(name) for name in chosen}
    if options.only in (None, "hostile"):
        report["hostile"] = hostile()
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    SUMMARY.write_text(summary(report), encoding="utf-8")
    print(summary(report))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("nodes", "architectures", "hostile"), help="one of the tables")
    parser.add_argument("--architecture", action="append", choices=ARCHITECTURES, help="one row; may be repeated")
    parser.add_argument("--measure", nargs=2, metavar=("ARCHITECTURE", "FORMAT"), help="print the numbers of one file")
    return parser.parse_args()


def environment() -> Row:
    packages = ("torch", "torchvision", "timm", "onnx", "onnxruntime-gpu", "onnx2torch")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    } | {name: version(name) for name in packages}


# Node tests


def node_tests() -> Row:
    """Run every node test of ONNX through our importer and through onnx2torch."""
    family = set(onnx_node_tests.names(onnx_node_tests.FAMILY))
    tests = onnx_node_tests.node_tests()
    rows: Row = {"total": len(tests), "family": len(family)}
    for name, run in {"phosphene": run_ours, "onnx2torch": run_onnx2torch}.items():
        with warnings.catch_warnings(action="ignore"):
            passed = {test for test in tests if succeeds(run, tests[test])}
        rows[name] = {"total": len(passed), "family": len(passed & family)}
    return rows


def succeeds(run: Callable[[Any, Path], None], test: Any) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            run(test, Path(folder))
        except Exception:  # whatever an importer dies of, the test did not pass
            return False
    return True


def run_ours(test: Any, folder: Path) -> None:
    onnx_node_tests.run(test, folder)


def run_onnx2torch(test: Any, folder: Path) -> None:
    """The same with onnx2torch, in the types of the file; its results may be of another type."""
    module = onnx2torch.convert(test.model).eval()
    for inputs, outputs in test.data_sets:
        given = [torch.from_numpy(np.array(onnx_node_tests.array_of(value))) for value in inputs]
        with torch.no_grad():
            results = module(*given)
        results = list(results) if isinstance(results, list | tuple) else [results]
        for result, expected in zip(results, map(onnx_node_tests.array_of, outputs), strict=True):
            assert tuple(result.shape) == np.shape(expected)
            np.testing.assert_allclose(result.numpy(), expected, rtol=test.rtol, atol=test.atol)


# Architectures


def formats(architecture: str) -> Row:
    """Export an architecture, if that was not done before, and measure it in every format."""
    folder = folder_of(EXPORTS, architecture)
    if not (folder / "exported.json").exists():
        command = [sys.executable, "-W", "ignore", "benchmarks/import_architectures.py", architecture, str(EXPORTS)]
        error = run_alone(command, EXPORT_SECONDS)[1]
        if not (folder / "exported.json").exists():
            return {name: {"exported": False, "error": error} for name in FILES}
    rows: Row = {}
    for name in FILES:
        command = [sys.executable, "-W", "ignore", __file__, "--measure", architecture, name]
        output, error = run_alone(command, MEASURE_SECONDS)
        rows[name] = json.loads(output) if output else {"exported": True, "loaded": False, "error": error}
        print(architecture, name, json.dumps(rows[name]), flush=True)
    if rows["onnx"].get("gradient_deviation", 0.0) > FOLDED:
        rows["onnx_unfolded"] = unfolded(architecture)
        print(architecture, "onnx_unfolded", json.dumps(rows["onnx_unfolded"]), flush=True)
    return rows


def unfolded(architecture: str) -> Row:
    """Measure an ONNX file again that the exporter was told not to optimize."""
    folder = folder_of(EXPORTS, architecture)
    if not (folder / UNFOLDED / "exported.json").exists():
        export_unfolded(architecture, folder, folder / UNFOLDED)
    output, error = run_alone(
        [sys.executable, "-W", "ignore", __file__, "--measure", f"{architecture}/{UNFOLDED}", "onnx"], MEASURE_SECONDS
    )
    return json.loads(output) if output else {"exported": True, "loaded": False, "error": error}


def run_alone(command: Sequence[str], seconds: float) -> tuple[str, str]:
    """Run a command from the root; return the last line of its output and of its errors."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return "", f"took longer than {seconds} s"
    return last_line(done.stdout), last_line(done.stderr) or f"exit status {done.returncode}"


def last_line(text: str) -> str:
    return next(iter(reversed(text.strip().splitlines())), "")


def measure(architecture: str, model_format: str) -> Row:
    """Load a file as the service does and compare it with eager PyTorch in float64, with two pictures."""
    folder = folder_of(EXPORTS, architecture)
    exported = json.loads((folder / "exported.json").read_text(encoding="utf-8"))
    if model_format in exported["failures"]:
        return {"exported": False, "error": exported["failures"][model_format]}
    given = source(architecture, folder / FILES[model_format], model_format, exported["size"])
    started = time.perf_counter()
    try:
        loaded = load_model(given, torch.device("cpu"))
    except Exception as error:  # the row says what a user would see
        return {"exported": True, "loaded": False, "error": f"{type(error).__name__}: {error}"[:500]}
    seconds = time.perf_counter() - started
    expected = torch.load(folder / "reference.pth")
    graph = loaded.graph.to(dtype=torch.float64)
    pictures = expected["pictures"].requires_grad_()
    outputs = list(graph(pictures))
    (gradient,) = torch.autograd.grad(projection(outputs), pictures)
    parity = loaded.model.parity
    return {
        "exported": True,
        "loaded": True,
        "layers": len(graph.layers),
        "deviation": max(relative(a, b) for a, b in zip(outputs, expected["outputs"], strict=True)),
        "gradient_deviation": relative(gradient, expected["gradient"]),
        "runtime_deviation": parity.largest_deviation / parity.output_scale if parity else None,
        "load_seconds": seconds,
    }


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference over the largest magnitude."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def source(architecture: str, path: Path, model_format: Any, size: int) -> ModelSource:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    reads = InputManifest(size=(size, size), channel_order="rgb", layout="nchw", mean=(0.5,) * 3, std=(0.25,) * 3)
    reference = ModelReference(architecture, "1", model_format)
    return model_source(reference, path, Manifest(input=reads), folder=path.parent, sha256=digest)


# Hostile files


def hostile() -> list[Row]:
    """Load every file of the hostile corpus in a process with little memory."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", "-m", "tests.hostile.loading", folder]
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    rows = {row["name"]: row for row in map(json.loads, output.splitlines())}
    return list(rows.values())


# Tables


def summary(report: Mapping[str, Any]) -> str:
    parts = [heading(report["environment"])]
    if "nodes" in report:
        parts.append(node_table(report["nodes"]))
    if "architectures" in report:
        parts.append(architecture_table(report["architectures"]))
    if "hostile" in report:
        parts.append(hostile_table(report["hostile"]))
    return "\n\n".join(parts) + "\n"


def heading(environment: Row) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in environment.items() if name not in ("date", "cores"))
    return (
        "# What the importers load\n\n"
        "Written by `benchmarks/import_coverage.py`; all numbers are in `benchmarks/results/import_coverage.json`.\n\n"
        f"{environment['date']}, {environment['cores']} cores, no GPU; {versions}."
    )


def node_table(nodes: Row) -> str:
    lines = [
        "## The node tests of ONNX\n",
        f"| | all {nodes['total']} | family {nodes['family']} |",
        "|---|---|---|",
        *(f"| {name} | {nodes[name]['total']} | {nodes[name]['family']} |" for name in ("phosphene", "onnx2torch")),
    ]
    return "\n".join(lines)


def architecture_table(architectures: Mapping[str, Row]) -> str:
    names = {"onnx": "ONNX", "torchscript": "TorchScript", "torch_export": "torch.export"}
    lines = [
        "## Architectures\n",
        "Each cell: deviation of the outputs / deviation of the input's gradient / seconds to load. Deviations are\n"
        "the largest difference from eager PyTorch in float64 over the largest magnitude, for two pictures, though\n"
        "the files were exported with one. Weights are random; ONNX exporters fold batch normalization in float32.\n",
        f"| architecture | {' | '.join(names.values())} |",
        "|---|---|---|---|",
        *(f"| {name} | {' | '.join(cell(rows[each]) for each in names)} |" for name, rows in architectures.items()),
        "",
        *(f"{title}: {totals([rows[each] for rows in architectures.values()])}\n" for each, title in names.items()),
        *(unfolded_line(name, rows) for name, rows in architectures.items() if "onnx_unfolded" in rows),
    ]
    return "\n".join(lines).rstrip()


def unfolded_line(architecture: str, rows: Row) -> str:
    folded, plain = rows["onnx"]["gradient_deviation"], rows["onnx_unfolded"].get("gradient_deviation", float("nan"))
    return (
        f"{architecture} as ONNX: gradient deviation {folded:.0e}, and {plain:.0e} when exported with\n"
        "`optimize=False`, which keeps batch normalization: folded in float32, a pre-activation next to zero changes\n"
        "its sign.\n"
    )


def cell(row: Row) -> str:
    if not row["exported"]:
        return "not exported"
    if not row["loaded"]:
        return "**refused**"
    return f"{row['deviation']:.0e} / {row['gradient_deviation']:.0e} / {row['load_seconds']:.1f}"


def totals(rows: Sequence[Row]) -> str:
    exported = [row for row in rows if row["exported"]]
    loaded = [row for row in exported if row["loaded"]]
    worst = max((row["deviation"] for row in loaded), default=0.0)
    gradient = max((row["gradient_deviation"] for row in loaded), default=0.0)
    return (
        f"{len(loaded)} of {len(exported)} exported files load; largest deviation {worst:.1e}, "
        f"of a gradient {gradient:.1e}."
    )


def hostile_table(rows: Sequence[Row]) -> str:
    kinds = Counter(row["error"] or HARMLESS for row in rows)
    slowest = max(rows, key=lambda row: row.get("seconds", 0.0))
    widest = max(rows, key=lambda row: row.get("bytes", 0))
    lines = [
        "## Files that mean harm\n",
        f"{len(rows)} files; executed: {sum(bool(row.get('executed')) for row in rows)}; slowest {slowest['name']} "
        f"({slowest['seconds']:.1f} s); most memory {widest['name']} ({widest['bytes'] / 2**20:.0f} MiB).\n",
        "| file | what comes of it | seconds | MiB |",
        "|---|---|---|---|",
        *(hostile_row(row) for row in rows),
        "",
        ", ".join(f"{kind}: {count}" for kind, count in kinds.items()),
    ]
    return "\n".join(lines)


def hostile_row(row: Row) -> str:
    return f"| {row['name']} | {row['error'] or HARMLESS} | {row['seconds']:.1f} | {row['bytes'] / 2**20:.0f} |"


if __name__ == "__main__":
    main()

"""How fast models load, and how fast their graphs are beside the eager networks that they were exported from.

For each architecture and format: the seconds that `load_model` takes as a whole (digest, import, probes, comparison
with the original runtime), and the milliseconds of one forward pass of the imported graph, beside eager PyTorch with
its weights and its picture in channels_last. Rounds of all candidates alternate in one process and medians are
compared, since the machine may be shared. The early layer shows that what lies behind a cut costs nothing.

    python benchmarks/import_speed.py --threads 2

Writes `benchmarks/results/import_speed.json`. Uses the files in `build/import_coverage`, and exports what is missing.
"""

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from benchmarks.import_architectures import FILES, build, export, folder_of  # noqa: E402
from benchmarks.import_coverage import EXPORTS, environment, source  # noqa: E402
from phosphene_server.models.loaded import LoadedModel  # noqa: E402
from phosphene_server.models.loading import load_model  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "import_speed.json"
EARLY_LAYERS: Mapping[str, str] = {
    "torchvision:googlenet": "conv2",
    "torchvision:resnet18": "layer1",
    "torchvision:mobilenet_v3_small": "features.2",
    "torchvision:vit_b_16": "encoder.layers.encoder_layer_0",
    "torchvision:swin_t": "features.1",
}
"""The architectures that are measured, and a layer near the input of each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15, help="of forward passes; loading is repeated three times")
    parser.add_argument("--batch", type=int, default=1, help="pictures in a forward pass")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {"environment": environment() | vars(options)}
    for architecture, layer in EARLY_LAYERS.items():
        report[architecture] = measured(architecture, layer, options.rounds, options.batch)
        print_rows(architecture, report[architecture])
    RESULTS.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def measured(architecture: str, layer: str, rounds: int, batch: int) -> dict[str, Any]:
    """Return the load seconds and the forward milliseconds of an architecture in every format and in eager PyTorch."""
    folder = folder_of(EXPORTS, architecture)
    if not (folder / "exported.json").exists():
        export(architecture, folder)
    network, size = build(architecture)
    network = network.to(memory_format=torch.channels_last)
    picture = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
    models, seconds = {}, {}
    for name in FILES:
        loads = [timed_load(architecture, folder / FILES[name], name, size) for _ in range(3)]
        models[name], seconds[name] = loads[-1][0], statistics.median(load[1] for load in loads)
    candidates: dict[str, Callable[[], object]] = {"eager": lambda: network(picture)}
    for name, model in models.items():
        candidates[name] = functools.partial(model.graph, picture)
        candidates[f"{name}, {layer}"] = functools.partial(model.graph.cut([layer]), picture)
    return {"load_seconds": seconds, "forward_milliseconds": medians(candidates, rounds)}


def timed_load(architecture: str, path: Path, model_format: str, size: int) -> tuple[LoadedModel, float]:
    started = time.perf_counter()
    loaded = load_model(source(architecture, path, model_format, size), torch.device("cpu"))
    return loaded, time.perf_counter() - started


def medians(candidates: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each candidate; they take turns, and the first two rounds do not count."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    with torch.no_grad():
        for _ in range(rounds + 2):
            for name, run in candidates.items():
                started = time.perf_counter()
                run()
                times[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(values[2:]) for name, values in times.items()}


def print_rows(architecture: str, row: Mapping[str, Any]) -> None:
    forward: Mapping[str, float] = row["forward_milliseconds"]
    print(architecture)
    for name, seconds in row["load_seconds"].items():
        print(f"  {name:13} loads in {seconds:.2f} s")
    for name, milliseconds in forward.items():
        print(f"  {name:45} {milliseconds:8.2f} ms  {milliseconds / forward['eager']:.2f} of eager", flush=True)


if __name__ == "__main__":
    main()

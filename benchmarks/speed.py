"""How fast Phosphene is, beside other libraries and beside the bare network, in one run.

    python benchmarks/speed.py                             all sections, some 10 minutes on two idle cores
    python benchmarks/speed.py --sections step,clients     some; what a file holds of the others stays
    python benchmarks/speed.py --quick                     few rounds and small cases: whether it runs, not how fast
    python benchmarks/speed.py --device cuda               on a GPU, with the section `device`; see scripts/gpu-check

GoogLeNet of torchvision with random weights, layer inception4a, parameter 128 px, shown at 224, default transforms;
`speed_contenders.py` says what each contender does. Every contender is a process of its own, in the environment that
its users have: Lucent and torch-dreams as a shell starts them, Phosphene and the bare network as our worker is started.
One computes at a time, in turns, and medians over the rounds are compared. Writes the numbers as JSON, the tables as
text and the main comparison as a picture. README.md beside this tells more.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from benchmarks import speed_plot  # noqa: E402
from benchmarks.speed_block import Block  # noqa: E402
from benchmarks.speed_device import device  # noqa: E402
from benchmarks.speed_kernels import kernels  # noqa: E402
from benchmarks.speed_latency import latency  # noqa: E402
from benchmarks.speed_machine import NoDevice, machine  # noqa: E402
from benchmarks.speed_memory import memory  # noqa: E402
from benchmarks.speed_process import ContenderFailed, environment  # noqa: E402
from benchmarks.speed_rounds import Stable  # noqa: E402
from benchmarks.speed_service import clients  # noqa: E402
from benchmarks.speed_steps import layers, scaling, step  # noqa: E402
from phosphene import PhospheneError  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"

SECTIONS: Mapping[str, Callable[..., Block]] = {
    "step": step,
    "clients": clients,
    "layers": layers,
    "scaling": scaling,
    "kernels": kernels,
    "memory": memory,
    "latency": latency,
    "device": device,
}

ON_CPU = ("step", "clients", "layers", "scaling", "kernels", "memory", "latency")
ON_GPU = ("step", "device", "clients", "latency", "layers", "scaling")
"""What is measured where nothing else is asked for: kernels are applied by the CPU in any case."""


def main() -> int:
    options = arguments()
    path = (
        options.output or RESULTS / f"speed{'_quick' if options.quick else ''}_{options.device.partition(':')[0]}.json"
    )
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    try:
        machine(options.device)
    except NoDevice as error:
        print(f"speed.py: {error}", file=sys.stderr)
        return 2
    subprocess.run([sys.executable, "-m", "benchmarks.speed_network"], cwd=ROOT, env=environment("plain"), check=True)
    with Stable(options.device) as stable:
        for name in options.sections:
            report[name] = measured(name, stable, quick=options.quick)
            print(f"\n== {name} ({report[name]['took_seconds']:.0f} s)\n", *report[name]["table"], sep="\n", flush=True)
            write(report, path)
    return 1 if any("failure" in report[name] for name in options.sections) else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", type=sections, help=f"of {','.join(SECTIONS)}; default: all for the device")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:NUMBER; default: cpu")
    parser.add_argument("--quick", action="store_true", help="few rounds and small cases, to a file of their own")
    parser.add_argument("--output", type=Path, help="the JSON; default: benchmarks/results/speed_DEVICE.json")
    options = parser.parse_args()
    if options.sections is None:
        options.sections = ON_CPU if options.device == "cpu" else ON_GPU
    return options


def sections(text: str) -> Sequence[str]:
    """Return the sections that a list names, separated by commas."""
    names = text.split(",")
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return names


def measured(name: str, stable: Stable, *, quick: bool) -> dict[str, Any]:
    """Run a section; what makes it impossible here becomes its outcome, and the others go on."""
    there = machine(stable.device)
    started = time.perf_counter()
    try:
        block = SECTIONS[name](stable, quick=quick)
    except (ContenderFailed, PhospheneError, RuntimeError, OSError) as error:
        block = Block({"failure": str(error)}, (f"failed: {error}",))
    seconds = round(time.perf_counter() - started, 1)
    return {"machine": there, "took_seconds": seconds, "quick": quick, **block.data, "table": block.lines}


def write(report: Mapping[str, Any], path: Path) -> None:
    """Write the numbers, the tables of all sections, and the plot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    texts = ["\n".join((f"== {name}, {caption(part['machine'])}", "", *part["table"])) for name, part in report.items()]
    path.with_suffix(".txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    if "step" in report and "failure" not in report["step"]:
        panels = {name: part["milliseconds"] for name, part in report["step"].items() if name.startswith("pictures=")}
        speed_plot.draw(panels, caption(report["step"]["machine"]), path.with_suffix(".png"))


def caption(values: Mapping[str, Any]) -> str:
    where = f"{values['processor']}, {values['cores']} cores"
    if values["gpu"] is not None:
        where = f"{values['gpu']}; {where}"
    return f"{where}; torch {values['torch']}; {values['date']}"


if __name__ == "__main__":
    sys.exit(main())

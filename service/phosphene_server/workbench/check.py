"""Is a file imported whole and exactly? Runs an examination within limits, and answers in every case.

    python -m phosphene_server.workbench.check FILE --name NAME

The report, as JSON, goes to standard output; the exit code is 0 where the file can be used and 1 where it cannot.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from phosphene_server.workbench.report import Report

DEFAULT_TIME_SECONDS = 300.0
DEFAULT_MEMORY_GIBIBYTES = 16.0
GIBIBYTE = 2**30
LARGEST_PART_OF_MEMORY = 0.75
"""How much of the machine's memory an examination may take at most."""


@dataclass(frozen=True)
class Limits:
    """What an examination may take."""

    time_seconds: float = DEFAULT_TIME_SECONDS
    memory_gibibytes: float = DEFAULT_MEMORY_GIBIBYTES
    """Private memory beyond what the process holds before it opens the file; at most 3/4 of the machine's."""

    @property
    def memory_bytes(self) -> int:
        """The limit of memory on this machine, in bytes."""
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return int(min(self.memory_gibibytes * GIBIBYTE, LARGEST_PART_OF_MEMORY * machine))


NO_LIMITS_GIVEN = Limits()


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a file, print the report, and return the exit code."""
    options = _parser().parse_args(arguments)
    limits = Limits(options.time_limit, options.memory_limit)
    document = check(options.file, name=options.name, manifest=options.manifest, size=options.size, limits=limits)
    print(json.dumps(document))
    return 0 if document["passed"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="check", description="Examine a model file without a server.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--name", help="What messages call the model. Default: the name of the file.")
    parser.add_argument("--manifest", type=Path, help="Default: the manifest.yaml beside the file, where there is one.")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="Pixels of the picture shown.")
    parser.add_argument("--time-limit", type=float, default=DEFAULT_TIME_SECONDS, metavar="SECONDS")
    parser.add_argument("--memory-limit", type=float, default=DEFAULT_MEMORY_GIBIBYTES, metavar="GIBIBYTES")
    return parser


def check(
    file: Path,
    *,
    name: str | None = None,
    manifest: Path | None = None,
    size: Sequence[int] | None = None,
    limits: Limits = NO_LIMITS_GIVEN,
) -> dict[str, object]:
    """Examine a file in a process of its own and return the report, as `Report.document` gives it.

    Args:
        file: The model file.
        name: What messages call it; None: the name of the file.
        manifest: Its manifest; None: the one beside it, or none.
        size: Height and width of the picture that is shown to it, in pixels.
        limits: Time and memory. A file that passes them has not passed the check.
    """
    called = name or file.stem
    command = [sys.executable, "-P", "-m", "phosphene_server.workbench.examination", str(file), "--name", called]
    command += ["--memory-bytes", str(limits.memory_bytes)]
    command += ["--manifest", str(manifest)] if manifest is not None else []
    command += ["--size", str(size[0]), str(size[1])] if size is not None else []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as child:
        try:
            output, words = child.communicate(timeout=limits.time_seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            _, words = child.communicate()
            return _unfinished(file, called, words, f"it was not finished within {limits.time_seconds:g} s")
    try:
        document: dict[str, object] = json.loads(output.splitlines()[-1])
        return document
    except (json.JSONDecodeError, IndexError):
        return _unfinished(file, called, words, _ending(child.returncode))


def _unfinished(file: Path, name: str, words: str, what: str) -> dict[str, object]:
    """Return the report on a file whose examination did not come to an end, with the stage that it was in."""
    stages = [line.removeprefix("stage: ") for line in words.splitlines() if line.startswith("stage: ")]
    during = f" (stage: {stages[-1]})" if stages else f": {_last_line(words)}"
    return Report(str(file), name, problems=[what + during]).document()


def _ending(code: int) -> str:
    if code < 0:
        return f"the examination was ended by {signal.Signals(-code).name}, perhaps for want of memory"
    return f"the examination ended with status {code}"


def _last_line(words: str) -> str:
    lines = words.strip().splitlines()
    return lines[-1] if lines else "it wrote nothing"


if __name__ == "__main__":
    sys.exit(main())

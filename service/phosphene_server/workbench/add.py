"""Puts a model file into a repository, with a manifest made of options.

    python -m phosphene_server.workbench.add FILE --name NAME --repository FOLDER [--labels FILE] [--mean ...] ...

Prints one JSON object: `entry`, the folder that was written, empty where `error` says why there is none; and `report`,
that of the check, unless it was not asked for.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from phosphene_server.errors import PhospheneError
from phosphene_server.workbench.check import DEFAULT_MEMORY_GIBIBYTES, DEFAULT_TIME_SECONDS, Limits, check
from phosphene_server.workbench.entries import Entry, write_entry
from phosphene_server.workbench.options import MANIFEST_OPTIONS, labels_of, manifest_of


class CheckFailed(Exception):
    """The file did not pass the check; what is wrong stands in the report."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Add an entry, print what came of it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="add", description="Put a model file into a repository.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--labels")
    parser.add_argument("--trusted", action="store_true")
    for option in MANIFEST_OPTIONS:
        parser.add_argument(option)
    add_placing_options(parser)
    options = parser.parse_args(arguments)
    return answer(lambda: _entry(options), options)


def add_placing_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where an entry goes and how it is checked."""
    parser.add_argument("--version", default="1")
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--force", action="store_true", help="Replace an entry of that name and version.")
    parser.add_argument("--no-check", action="store_true")
    parser.add_argument("--time-limit", type=float, default=DEFAULT_TIME_SECONDS, metavar="SECONDS")
    parser.add_argument("--memory-limit", type=float, default=DEFAULT_MEMORY_GIBIBYTES, metavar="GIBIBYTES")


def answer(make: Callable[[], Entry], options: argparse.Namespace) -> int:
    """Make an entry, check it, add it, and print what came of it; the exit code is 1 where it was not added."""
    result: dict[str, Any] = {"entry": "", "error": "", "report": None}

    def examine(file: Path, name: str) -> None:
        limits = Limits(options.time_limit, options.memory_limit)
        # It lies in a temporary folder, whose name tells nobody anything.
        result["report"] = {**check(file, name=name, limits=limits), "file": file.name}
        if not result["report"]["passed"]:
            raise CheckFailed

    try:
        examination = None if options.no_check else examine
        result["entry"] = str(write_entry(options.repository, make(), force=options.force, examine=examination))
    except CheckFailed:
        result["error"] = "the model was not added, because it did not pass the check; --no-check adds it all the same"
    except (PhospheneError, OSError) as error:
        result["error"] = str(error)
    print(json.dumps(result))
    return 1 if result["error"] else 0


def _entry(options: argparse.Namespace) -> Entry:
    given = {option: getattr(options, option.removeprefix("--").replace("-", "_")) for option in MANIFEST_OPTIONS}
    manifest, labels = manifest_of(options.manifest, given, name=options.name, trusted=options.trusted)
    return Entry(options.file, options.name, options.version, manifest, labels_of(options.labels) or labels)


if __name__ == "__main__":
    sys.exit(main())

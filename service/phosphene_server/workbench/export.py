"""Makes an entry of a repository from a model of torchvision or timm.

    python -m phosphene_server.workbench.export torchvision:resnet50 --repository FOLDER [--weights DEFAULT] ...

Prints what `add` prints.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from phosphene_server.errors import InvalidArgument
from phosphene_server.models.repository import FILE_NAMES
from phosphene_server.workbench.add import add_placing_options, answer
from phosphene_server.workbench.entries import Entry
from phosphene_server.workbench.exporting import export_module
from phosphene_server.workbench.libraries import LIBRARIES
from phosphene_server.workbench.options import MANIFEST_OPTIONS


def main(arguments: Sequence[str] | None = None) -> int:
    """Export a model, add it, print what came of it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="export", description="Make an entry from a model of a library.")
    parser.add_argument("model", metavar="LIBRARY:NAME")
    parser.add_argument("--weights", default="DEFAULT")
    parser.add_argument("--format", choices=tuple(FILE_NAMES), default="onnx")
    parser.add_argument("--name", help="Default: the model's name in its library.")
    parser.add_argument("--size", help="Default: the size that it was trained on.")
    add_placing_options(parser)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="phosphene-export-") as folder:
        return answer(lambda: _export(options, Path(folder)), options)


def _export(options: argparse.Namespace, folder: Path) -> Entry:
    library, _, model = options.model.partition(":")
    if library not in LIBRARIES or not model:
        expected = " or ".join(f"{known}:NAME" for known in LIBRARIES)
        raise InvalidArgument("LIBRARY:NAME", repr(options.model), expected)
    _, _, parse_size = MANIFEST_OPTIONS["--size"]
    given = parse_size("--size", options.size) if options.size else None
    made = LIBRARIES[library](model, options.weights)
    manifest = made.manifest()
    if given is not None:
        manifest["input"]["size"] = given
    size = manifest["input"]["size"]
    file = folder / FILE_NAMES[options.format]
    export_module(made.module, channels=len(made.mean), size=(size[0], size[1]), kind=options.format, path=file)
    return Entry(file, options.name or model, options.version, manifest, made.labels)


if __name__ == "__main__":
    sys.exit(main())

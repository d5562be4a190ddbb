"""An entry of a model repository, written all at once or not at all.

<repository>/.adding-xxxxxxxx/NAME/VERSION/     is filled first; a repository looks into no folder with a dot
<repository>/NAME/VERSION/                      is that folder, renamed, after the repository has read it
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from phosphene_server.errors import DamagedModel, InvalidArgument, ModelUnusable
from phosphene_server.models.importers.onnx.reading import external_files
from phosphene_server.models.manifest import FILE_NAME as MANIFEST_NAME
from phosphene_server.models.repository import FILE_NAMES, PROGRAMS, Repository
from phosphene_server.values.model import ModelFormat, ModelReference
from phosphene_server.workbench.formats import format_of

LABELS_NAME = "labels.txt"
LONGEST_NAME = 256


@dataclass(frozen=True)
class Entry:
    """What is to be in a repository."""

    file: Path
    """The model file; the external data of an ONNX file is found through it."""
    name: str
    version: str
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """As in manifest.yaml, without digests and labels."""
    labels: Sequence[str] = ()


def write_entry(
    repository: Path, entry: Entry, *, force: bool, examine: Callable[[Path, str], None] | None = None
) -> Path:
    """Put an entry into a repository and return its folder.

    Args:
        repository: The folder of the repository; it is made where it does not exist.
        entry: What to put there.
        force: Whether an entry of that name and version is replaced.
        examine: Called with the copy of the model file and its name, beside its manifest, before the entry is there;
            what it raises leaves the repository as it was.

    Raises:
        InvalidArgument: the name or version cannot be that of a folder, or the entry exists already.
        DamagedModel: the file, its external data or its manifest is not what it should be.
        ModelUnusable: the file is a program, and the manifest does not call it trusted.
    """
    _check_folder_name("--name", entry.name)
    _check_folder_name("--version", entry.version)
    kind = format_of(entry.file, name=entry.name)
    _check_trust(entry, kind)
    target = repository / entry.name / entry.version
    if target.exists() and not force:
        raise InvalidArgument("--version", entry.version, f"a version that {target.parent} does not have, or --force")
    repository.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".adding-", dir=repository))
    try:
        folder = stage / entry.name / entry.version
        folder.mkdir(parents=True)
        _fill(folder, entry, kind)
        Repository(None, bundled=stage).resolve(ModelReference(entry.name, entry.version, kind))
        if examine is not None:
            examine(folder / FILE_NAMES[kind], entry.name)
        _put_in_place(folder, target, stage)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return target


def _check_folder_name(option: str, name: str) -> None:
    if not name or len(name) > LONGEST_NAME or name.startswith((".", "_")) or not name.isprintable():
        raise InvalidArgument(option, repr(name), "a name of a folder that starts with neither a dot nor an underscore")
    if set(name) & set("/\\"):
        raise InvalidArgument(option, repr(name), "a name without slashes")


def _check_trust(entry: Entry, kind: ModelFormat) -> None:
    if kind in PROGRAMS and entry.manifest.get("trusted") is not True:
        raise ModelUnusable(
            entry.name,
            f"{entry.file.name} is of a format that holds programs; they are inspected, but it is "
            "served only if you vouch for it: add --trusted if you trust its author",
        )


def _fill(folder: Path, entry: Entry, kind: ModelFormat) -> None:
    """Copy the files and write the manifest beside them."""
    files = {FILE_NAMES[kind]: entry.file}
    if kind == "onnx":
        for path in external_files(entry.file, model=entry.name):
            files[str(path.relative_to(entry.file.parent))] = path
    taken = {MANIFEST_NAME, LABELS_NAME} & files.keys()
    if taken or len({name.casefold() for name in files}) < len(files):
        raise DamagedModel(entry.name, f"its external data is in a file of the name {min(taken or files)!r}")
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
    manifest = dict(entry.manifest)
    if entry.labels:
        (folder / LABELS_NAME).write_text("".join(f"{label}\n" for label in entry.labels), encoding="utf-8")
        manifest["labels"] = LABELS_NAME
    manifest["sha256"] = {path.name: _digest(path) for path in sorted(folder.iterdir()) if path.is_file()}
    text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=110)
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _put_in_place(folder: Path, target: Path, stage: Path) -> None:
    """Rename the folder to what a repository looks for; what was there is kept aside until that has succeeded."""
    target.parent.mkdir(exist_ok=True)
    replaced = stage / "replaced"
    if target.exists():
        target.rename(replaced)
    try:
        folder.rename(target)
    except OSError:
        if replaced.exists():
            replaced.rename(target)
        raise

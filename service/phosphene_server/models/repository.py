"""The repository: which models there are, and which file a reference means.

    <root>/<name>/<version>/model.onnx      an ONNX graph
                            model.pt2       an archive of torch.export
                            model.pt        a TorchScript archive
                            manifest.yaml   what the operator says of them, see manifest.py

Beside the operator's root stands the bundled repository, which ships with the service; a name in the operator's root
hides the same name there. The folders are read at every call, so a new model is seen without a restart. Files are
only ever reached through the names that were found in a listing, never by joining what a request says to a path.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from phosphene_server.errors import DamagedModel, ModelUnusable, NotFound, nearest_names
from phosphene_server.models.manifest import Manifest, read_labels, read_manifest, read_other_inputs
from phosphene_server.values.model import ModelFormat, ModelReference, ModelSummary
from phosphene_server.values.work import ModelSource

BUNDLED = Path(__file__).parent / "bundled"

FILE_NAMES: Mapping[ModelFormat, str] = {
    "onnx": "model.onnx",
    "torch_export": "model.pt2",
    "torchscript": "model.pt",
}
"""The file of each format, the one that is used by default first."""

PROGRAMS: frozenset[ModelFormat] = frozenset({"torch_export", "torchscript"})
"""The formats whose files run code when they are loaded (PyTorch SECURITY.md, "Untrusted models")."""


@dataclass(frozen=True)
class ModelFile:
    """A file of the repository and the complete reference to it."""

    reference: ModelReference
    path: Path

    @property
    def folder(self) -> Path:
        """The folder of the version, where the manifest stands."""
        return self.path.parent

    @property
    def title(self) -> str:
        """What errors call it: `shapes/1`."""
        return f"{self.reference.name}/{self.reference.version}"


class Repository:
    """The models of some root folders.

    Its methods read the disk, and `resolve` may hash a large file: call them from a thread.
    """

    def __init__(self, root: Path | None, *, bundled: Path = BUNDLED) -> None:
        """Take the operator's root, None for none, and the folder that ships with the service."""
        self._roots = tuple(path.resolve() for path in (bundled, root) if path is not None)
        self._digests: dict[tuple[Path, int, int], str] = {}

    def list(self) -> tuple[ModelSummary, ...]:
        """Return all models by name, then by version with the newest first; `loaded` is left False."""
        names = self._names()
        return tuple(
            ModelSummary(name, version, tuple(files), _description(next(iter(files.values())).parent), loaded=False)
            for name in sorted(names)
            for version, files in _versions(names[name], self._roots).items()
        )

    def find(self, reference: ModelReference, *, field: str = "model") -> ModelFile:
        """Return the file that a reference means: the newest version and the default format where it names none.

        Args:
            reference: What the request asks for.
            field: The path of the reference in the request, for errors.

        Raises:
            NotFound: there is no such model, version or format; the error has the nearest names.
        """
        names = self._names()
        if reference.name not in names:
            raise NotFound("model", reference.name, nearest_names(reference.name, names), f"{field}.name")
        versions = _versions(names[reference.name], self._roots)
        version = reference.version if reference.version is not None else next(iter(versions))
        if version not in versions:
            near = nearest_names(version, versions) or tuple(versions)[:3]
            raise NotFound("version", version, near, f"{field}.version")
        files = versions[version]
        chosen = next(iter(files)) if reference.format is None else reference.format
        if chosen not in files:
            raise NotFound("format", chosen, tuple(files), f"{field}.format")
        return ModelFile(ModelReference(reference.name, version, chosen), files[chosen])

    def resolve(self, reference: ModelReference, *, field: str = "model") -> ModelSource:
        """Return the file that a reference means, with its digest and what its manifest says.

        Raises:
            NotFound: as `find`.
            DamagedModel: the manifest cannot be read, or lists another digest for one of the files.
            ModelUnusable: the file is a program and the manifest does not call it trusted.
        """
        file = self.find(reference, field=field)
        manifest = read_manifest(file.folder)
        _check_trust(file, manifest)
        self._check_digests(file, manifest)
        return model_source(file.reference, file.path, manifest, folder=file.folder, sha256=self._digest(file.path))

    def _names(self) -> dict[str, Path]:
        """Return the folder of each model that has a version; later roots hide earlier ones."""
        return {
            folder.name: folder
            for root in self._roots
            for folder in _folders(root, self._roots)
            if _versions(folder, self._roots)
        }

    def _check_digests(self, file: ModelFile, manifest: Manifest) -> None:
        """Compare the file, and what may belong to it (external weights, labels), with the manifest's digests."""
        others = set(FILE_NAMES.values()) - {file.path.name}
        for name, expected in manifest.sha256.items():
            path = file.folder / name
            if name in others or path.parent != file.folder:
                continue
            if not _is_inside(path, self._roots):
                raise DamagedModel(file.title, f"the manifest lists {name!r}, but there is no such file")
            if self._digest(path) != expected.lower():
                raise DamagedModel(
                    file.title, f"{name} has the SHA-256 {self._digest(path)}, the manifest says {expected}"
                )

    def _digest(self, path: Path) -> str:
        """Return the SHA-256 of a file; it is computed again only when the file has changed."""
        status = path.stat()
        key = (path, status.st_mtime_ns, status.st_size)
        if key not in self._digests:
            with path.open("rb") as stream:
                self._digests[key] = hashlib.file_digest(stream, "sha256").hexdigest()
        return self._digests[key]


def model_source(
    reference: ModelReference, path: Path, manifest: Manifest, *, folder: Path, sha256: str
) -> ModelSource:
    """Return what a worker needs to load a file.

    Args:
        reference: The complete reference to it.
        path: The file.
        manifest: What the operator says of it.
        folder: Where the manifest's labels are.
        sha256: The digest of the file.

    Raises:
        DamagedModel: the manifest's labels or other inputs cannot be read.
    """
    return ModelSource(
        reference=reference,
        path=path,
        sha256=sha256,
        size_bytes=path.stat().st_size,
        description=manifest.description,
        preprocessing=manifest.input.preprocessing(),
        labels=read_labels(folder, manifest),
        logits_layer=manifest.logits,
        picture_input=manifest.input.name,
        other_inputs=read_other_inputs(folder, manifest),
        left_open=manifest.input.left_open(),
    )


def version_order(version: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts versions from old to new: runs of digits compare as numbers, so `10` follows `9`."""
    return tuple(
        (1, int(part), "") if part.isdigit() else (0, 0, part) for part in re.findall(r"[0-9]+|[^0-9]+", version)
    )


def _versions(folder: Path, roots: tuple[Path, ...]) -> dict[str, dict[ModelFormat, Path]]:
    """Return the files of each version of a model, the newest version and the default format first."""
    found = {}
    for version in sorted(_folders(folder, roots), key=lambda path: version_order(path.name), reverse=True):
        files = {kind: version / name for kind, name in FILE_NAMES.items() if _is_inside(version / name, roots)}
        if files:
            found[version.name] = files
    return found


def _folders(parent: Path, roots: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the folders in a folder that lead nowhere outside; what cannot be read is not there."""
    try:
        entries = sorted(parent.iterdir())
    except OSError:
        return ()
    return tuple(
        entry
        for entry in entries
        if not entry.name.startswith((".", "_")) and entry.is_dir() and _leads_inside(entry, roots)
    )


def _is_inside(path: Path, roots: tuple[Path, ...]) -> bool:
    """Tell whether a path is a regular file that lies below a root, links followed."""
    return path.is_file() and _leads_inside(path, roots)


def _leads_inside(path: Path, roots: tuple[Path, ...]) -> bool:
    return any(path.resolve().is_relative_to(root) for root in roots)


def _check_trust(file: ModelFile, manifest: Manifest) -> None:
    if file.reference.format in PROGRAMS and not manifest.trusted:
        raise ModelUnusable(
            file.title,
            f"{file.path.name} is of a format that holds programs; they are inspected, but only the operator can "
            f"vouch for such a file: if you trust its author, say `trusted: true` in the manifest.yaml beside it",
        )


def _description(folder: Path) -> str:
    """Return the manifest's sentence; of a manifest that cannot be read, what is wrong with it."""
    try:
        return read_manifest(folder).description
    except DamagedModel as error:
        return str(error)

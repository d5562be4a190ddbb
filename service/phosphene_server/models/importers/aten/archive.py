"""Reads the zip archives that PyTorch writes, after looking at what is in them.

Nothing is unpacked to disk and no name in the archive is used as a path; names that try to leave the archive are
refused all the same, since whoever wrote them meant harm.
"""

import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath

from phosphene_server.errors import DamagedModel

MAXIMUM_RATIO = 32
"""How many times larger than the archive its contents may be. Weights are stored as they are, only code is packed."""
FREE_BYTES = 64 * 2**20
"""Contents up to this many bytes are never too large, however small the archive."""
MAXIMUM_ENTRIES = 200_000

UNREADABLE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, ValueError, RuntimeError)
"""What the reader of archives raises for a damaged one."""


def read_archive(path: Path, *, name: str) -> dict[str, bytes]:
    """Read all entries of an archive.

    Args:
        path: The file.
        name: The model's name, for messages.

    Returns:
        The contents by their names inside the archive, without its topmost folder: `data.pkl`, `code/__torch__.py`.

    Raises:
        DamagedModel: it is no zip archive, it is truncated, or what it holds is not what PyTorch writes: names that
            leave the archive, names that occur twice, contents far larger than the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            _check_names(entries, name)
            _check_sizes(entries, path.stat().st_size, name)
            return {_inner_name(entry.filename): _content(archive, entry) for entry in entries}
    except UNREADABLE as error:
        raise DamagedModel(name, f"the archive cannot be read: {error}") from error


def _check_names(entries: list[zipfile.ZipInfo], name: str) -> None:
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        if entry.filename.startswith("/") or "\\" in entry.filename or ".." in parts:
            raise DamagedModel(name, f"the archive has an entry with the unsafe name {entry.filename!r}")
    # Readers disagree on which of two equal names counts, and on whether capitals matter.
    count = Counter(entry.filename.casefold() for entry in entries)
    twice = [entry for entry, times in count.items() if times > 1]
    if twice:
        raise DamagedModel(name, f"the archive has more than one entry named {twice[0]!r}")
    if len({PurePosixPath(entry.filename).parts[0] for entry in entries}) != 1:
        raise DamagedModel(
            name, "the archive is not one folder, as files of TorchScript and, since PyTorch 2.8, of torch.export are"
        )


def _check_sizes(entries: list[zipfile.ZipInfo], archive_bytes: int, name: str) -> None:
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MAXIMUM_ENTRIES or total > max(FREE_BYTES, MAXIMUM_RATIO * archive_bytes):
        raise DamagedModel(
            name, f"the archive of {archive_bytes} bytes would unpack to {len(entries)} entries of {total} bytes"
        )


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return an entry; asked for no more than its directory promises, the reader unpacks no more."""
    with archive.open(entry) as stream:
        return stream.read(entry.file_size + 1)


def _inner_name(filename: str) -> str:
    return filename.split("/", 1)[1]

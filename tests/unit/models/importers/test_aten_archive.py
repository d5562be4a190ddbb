import zipfile
from pathlib import Path

import pytest

from phosphene_server.errors import DamagedModel
from phosphene_server.models.importers.aten.archive import read_archive


def write(path: Path, entries: list[tuple[str, bytes]], *, packed: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def test_entries_are_read_by_their_names_inside_the_topmost_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [("model/version", b"3"), ("model/data/0", b"xy")])
    assert read_archive(path, name="m") == {"version": b"3", "data/0": b"xy"}


@pytest.mark.parametrize("name", ["../evil", "model/../../evil", "/etc/evil", "model\\..\\evil"])
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DamagedModel, match="unsafe name"):
        read_archive(write(tmp_path / "a", [("model/version", b"3"), (name, b"")]), name="m")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["model/code/a.py", "model/CODE/A.py"])
def test_names_that_readers_may_take_for_one_another_are_refused(tmp_path: Path, second: str) -> None:
    path = write(tmp_path / "a", [("model/code/a.py", b"harmless"), (second, b"harmful")])
    with pytest.raises(DamagedModel, match="more than one entry"):
        read_archive(path, name="m")


def test_a_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [("model/data/0", bytes(80 * 2**20))], packed=True)
    with pytest.raises(DamagedModel, match="would unpack"):
        read_archive(path, name="m")


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [("model/version", b"3"), ("model/data/0", bytes(1000))])
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DamagedModel, match="cannot be read"):
        read_archive(path, name="m")


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [("model/data/0", b"weights")])
    path.write_bytes(path.read_bytes().replace(b"weights", b"wEights"))
    with pytest.raises(DamagedModel, match="CRC"):
        read_archive(path, name="m")

"""Entries of a repository: whole or not at all."""

import os
from pathlib import Path

import pytest
import yaml

from phosphene_server.errors import DamagedModel, InvalidArgument, ModelUnusable
from phosphene_server.models.repository import Repository
from phosphene_server.values.model import ModelReference
from phosphene_server.workbench.entries import Entry, write_entry

FIVE = ("a", "b", "c", "d", "e")


def entry(file: Path, **changes: object) -> Entry:
    return Entry(**{"file": file, "name": "net", "version": "1", **changes})  # type: ignore[arg-type]  # what tests give


def contents(repository: Path) -> set[str]:
    return {str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file()}


def test_repository_reads_what_was_written(classifier: Path, tmp_path: Path):
    manifest = {"description": "Small.", "input": {"size": [8, 8], "mean": [0.5], "std": [0.25]}}
    folder = write_entry(tmp_path / "models", entry(classifier, manifest=manifest, labels=FIVE), force=False)
    assert folder == tmp_path / "models" / "net" / "1"
    source = Repository(tmp_path / "models").resolve(ModelReference("net"))
    assert (source.description, source.labels, source.preprocessing.mean) == ("Small.", FIVE, (0.5,) * 3)
    assert contents(tmp_path / "models") == {"net/1/model.onnx", "net/1/manifest.yaml", "net/1/labels.txt"}


def test_digests_vouch_for_every_file(classifier: Path, with_external_data, tmp_path: Path):
    folder = write_entry(tmp_path / "models", entry(with_external_data(classifier)), force=False)
    digests = yaml.safe_load((folder / "manifest.yaml").read_text())["sha256"]
    assert set(digests) == {"model.onnx", "weights.data"}
    (folder / "weights.data").write_bytes(b"other")
    with pytest.raises(DamagedModel, match=r"weights\.data has the SHA-256"):
        Repository(tmp_path / "models").resolve(ModelReference("net"))


def test_missing_external_data_is_named_and_nothing_is_left(classifier: Path, with_external_data, tmp_path: Path):
    file = with_external_data(classifier)
    (file.parent / "weights.data").unlink()
    with pytest.raises(DamagedModel, match=r"'weights.data', which is not there"):
        write_entry(tmp_path / "models", entry(file), force=False)
    assert os.listdir(tmp_path / "models") == []


def test_existing_version_is_kept_unless_forced(classifier: Path, tmp_path: Path):
    repository = tmp_path / "models"
    write_entry(repository, entry(classifier, manifest={"description": "First."}), force=False)
    with pytest.raises(InvalidArgument, match="--force"):
        write_entry(repository, entry(classifier, manifest={"description": "Second."}), force=False)
    assert Repository(repository).resolve(ModelReference("net")).description == "First."
    write_entry(repository, entry(classifier, manifest={"description": "Second."}), force=True)
    assert Repository(repository).resolve(ModelReference("net")).description == "Second."
    assert os.listdir(repository) == ["net"]


def test_failed_examination_leaves_the_repository_as_it_was(classifier: Path, tmp_path: Path):
    seen = []

    def refuse(file: Path, name: str) -> None:
        seen.append((file.name, (file.parent / "manifest.yaml").is_file(), name))
        raise ModelUnusable(name, "no")

    with pytest.raises(ModelUnusable):
        write_entry(tmp_path / "models", entry(classifier), force=False, examine=refuse)
    assert seen == [("model.onnx", True, "net")]
    assert os.listdir(tmp_path / "models") == []


def test_programs_are_added_only_when_somebody_vouches(traced: Path, tmp_path: Path):
    with pytest.raises(ModelUnusable, match="--trusted"):
        write_entry(tmp_path / "models", entry(traced), force=False)
    folder = write_entry(tmp_path / "models", entry(traced, manifest={"trusted": True}), force=False)
    assert (folder / "model.pt").is_file()


@pytest.mark.parametrize("name", ["", ".hidden", "_private", "a/b", "..", "a\\b", "nul\0", "x" * 257, "two\nlines"])
def test_names_that_are_no_folder_are_refused(classifier: Path, tmp_path: Path, name: str):
    with pytest.raises(InvalidArgument, match="--name"):
        write_entry(tmp_path / "models", entry(classifier, name=name), force=False)
    assert not (tmp_path / "models").exists()


def test_wrong_manifest_is_told_by_its_field(classifier: Path, tmp_path: Path):
    with pytest.raises(DamagedModel, match=r"manifest field input\.size"):
        write_entry(tmp_path / "models", entry(classifier, manifest={"input": {"size": [1, 2]}}), force=False)
    assert os.listdir(tmp_path / "models") == []

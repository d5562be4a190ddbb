import hashlib
import os
from pathlib import Path

import pytest

from phosphene_server.errors import DamagedModel, ModelUnusable, NotFound
from phosphene_server.models.repository import Repository, version_order
from phosphene_server.values.model import ModelReference


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def repository(root: Path, tmp_path: Path) -> Repository:
    return Repository(root, bundled=tmp_path / "bundled")


def put(root: Path, place: str, *, content: bytes = b"model", manifest: str = "") -> Path:
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if manifest:
        (path.parent / "manifest.yaml").write_text(manifest)
    return path


def test_resolves_the_newest_version_by_number(root: Path, repository: Repository) -> None:
    for version in ("2", "10", "9"):
        put(root, f"net/{version}/model.onnx")
    assert repository.resolve(ModelReference("net")).reference == ModelReference("net", "10", "onnx")


@pytest.mark.parametrize(
    ("older", "newer"), [("9", "10"), ("1.9.0", "1.10.0"), ("v2", "v11"), ("2026-01-02", "2026-01-10"), ("beta", "1")]
)
def test_orders_versions_by_their_numbers(older: str, newer: str) -> None:
    assert version_order(older) < version_order(newer)


def test_prefers_onnx_then_torch_export_then_torchscript(root: Path, repository: Repository) -> None:
    for file in ("model.pt", "model.pt2", "model.onnx"):
        put(root, f"net/1/{file}", manifest="trusted: true")
        expected = {"model.pt": "torchscript", "model.pt2": "torch_export", "model.onnx": "onnx"}[file]
        assert repository.resolve(ModelReference("net")).reference.format == expected
    assert repository.list()[0].formats == ("onnx", "torch_export", "torchscript")


def test_gives_the_digest_the_size_and_what_the_manifest_says(root: Path, repository: Repository) -> None:
    manifest = "description: a net\nlabels: labels.txt\nlogits: fc\ninput: {size: [32, 48], channel_order: bgr}"
    path = put(root, "net/1/model.onnx", content=b"abc", manifest=manifest)
    (path.parent / "labels.txt").write_text("star\nring\n")
    source = repository.resolve(ModelReference("net", "1", "onnx"))
    assert (source.path, source.size_bytes, source.sha256) == (path, 3, hashlib.sha256(b"abc").hexdigest())
    assert (source.description, source.labels, source.logits_layer) == ("a net", ("star", "ring"), "fc")
    assert (source.preprocessing.size.height, source.preprocessing.channel_order) == (32, "bgr")


def test_hashes_a_file_again_only_when_it_has_changed(root: Path, repository: Repository, monkeypatch) -> None:
    path = put(root, "net/1/model.onnx", content=b"abc")
    hashed: list[str] = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: hashed.append("") or digest(*a))
    first = repository.resolve(ModelReference("net")).sha256
    assert repository.resolve(ModelReference("net")).sha256 == first
    assert len(hashed) == 1
    path.write_bytes(b"abcd")
    assert repository.resolve(ModelReference("net")).sha256 != first


@pytest.mark.parametrize(
    ("reference", "kind", "field", "nearest"),
    [
        (ModelReference("nett"), "model", "kernel.layer.model.name", ("net",)),
        (ModelReference("net", "3"), "version", "kernel.layer.model.version", ("1",)),
        (ModelReference("net", "1", "torchscript"), "format", "kernel.layer.model.format", ("onnx",)),
    ],
)
def test_tells_what_is_missing_and_what_is_near(root, repository, reference, kind, field, nearest) -> None:
    put(root, "net/1/model.onnx")
    with pytest.raises(NotFound) as caught:
        repository.resolve(reference, field="kernel.layer.model")
    assert (caught.value.kind, caught.value.field, caught.value.nearest) == (kind, field, nearest)


@pytest.mark.parametrize("name", ["..", "../secret", "net/1", "/etc", "net\0", "", ".", "~", "net/../net", "é" * 300])
def test_a_name_is_never_a_path(root: Path, repository: Repository, name: str) -> None:
    put(root, "net/1/model.onnx")
    put(root.parent, "secret/1/model.onnx")
    for reference in (ModelReference(name), ModelReference("net", name)):
        with pytest.raises(NotFound):
            repository.resolve(reference)


@pytest.mark.parametrize("level", ["model", "version", "file"])
def test_links_that_lead_outside_are_not_there(root: Path, repository: Repository, level: str) -> None:
    outside = put(root.parent, "outside/net/1/model.onnx")
    inside = root / "net" / "1" / "model.onnx"
    target, link = {
        "model": (outside.parent.parent, inside.parent.parent),
        "version": (outside.parent, inside.parent),
        "file": (outside, inside),
    }[level]
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)
    assert repository.list() == ()


def test_links_within_the_root_are_followed(root: Path, repository: Repository) -> None:
    put(root, "net/1/model.onnx")
    (root / "net" / "latest").symlink_to(root / "net" / "1")
    assert repository.resolve(ModelReference("net", "latest")).size_bytes == 5


def test_only_regular_files_are_models(root: Path, repository: Repository) -> None:
    (root / "folder" / "1" / "model.onnx").mkdir(parents=True)
    (root / "pipe" / "1").mkdir(parents=True)
    os.mkfifo(root / "pipe" / "1" / "model.onnx")
    assert repository.list() == ()


@pytest.mark.parametrize("file", ["model.pt", "model.pt2"])
def test_programs_are_refused_unless_trusted(root: Path, repository: Repository, file: str) -> None:
    path = put(root, f"net/1/{file}")
    with pytest.raises(ModelUnusable, match="trusted: true"):
        repository.resolve(ModelReference("net"))
    (path.parent / "manifest.yaml").write_text("trusted: true")
    assert repository.resolve(ModelReference("net")).path == path


def test_a_file_that_is_not_the_one_of_the_manifest_is_refused(root: Path, repository: Repository) -> None:
    good = hashlib.sha256(b"abc").hexdigest().upper()
    path = put(root, "net/1/model.onnx", content=b"abc", manifest=f"sha256: {{model.onnx: {good}}}")
    assert repository.resolve(ModelReference("net")).sha256 == good.lower()
    path.write_bytes(b"abd")
    with pytest.raises(DamagedModel, match=r"model\.onnx has the SHA-256"):
        repository.resolve(ModelReference("net"))


def test_external_weights_are_checked_but_other_formats_are_not(root: Path, repository: Repository) -> None:
    path = put(root, "net/1/model.onnx", manifest=f"sha256: {{weights.bin: {'a' * 64}, model.pt: {'a' * 64}}}")
    with pytest.raises(DamagedModel, match=r"'weights\.bin', but there is no such file"):
        repository.resolve(ModelReference("net"))
    (path.parent / "weights.bin").write_bytes(b"w")
    with pytest.raises(DamagedModel, match=r"weights\.bin has the SHA-256"):
        repository.resolve(ModelReference("net"))


def test_a_damaged_manifest_is_told_in_the_list_and_refused(root: Path, repository: Repository) -> None:
    put(root, "net/1/model.onnx", manifest="input: {size: large}")
    assert "manifest field input.size" in repository.list()[0].description
    with pytest.raises(DamagedModel, match=r"input\.size"):
        repository.resolve(ModelReference("net"))


def test_the_operators_models_hide_bundled_ones_of_the_same_name(root: Path, repository: Repository) -> None:
    put(root.parent, "bundled/net/7/model.onnx")
    put(root.parent, "bundled/shapes/1/model.onnx")
    own = put(root, "net/1/model.onnx")
    assert repository.resolve(ModelReference("net")).path == own
    assert [(model.name, model.version) for model in repository.list()] == [("net", "1"), ("shapes", "1")]


def test_lists_by_name_then_newest_version_and_sees_new_folders(root: Path, repository: Repository) -> None:
    assert repository.list() == ()
    for place in ("b/1", "a/2", "a/10"):
        put(root, f"{place}/model.onnx")
    (root / "a" / "notes.txt").write_text("no version")
    put(root, ".hidden/1/model.onnx")
    assert [(model.name, model.version) for model in repository.list()] == [("a", "10"), ("a", "2"), ("b", "1")]


def test_without_a_root_only_the_bundled_models_are_there(tmp_path: Path) -> None:
    put(tmp_path, "bundled/shapes/1/model.onnx")
    assert [model.name for model in Repository(None, bundled=tmp_path / "bundled").list()] == ["shapes"]


def test_every_bundled_model_resolves_in_every_format() -> None:
    repository = Repository(None)
    models = repository.list()
    if not models:
        pytest.skip("no model is bundled in this checkout")
    for model in models:
        for model_format in model.formats:
            assert repository.resolve(ModelReference(model.name, model.version, model_format)).labels

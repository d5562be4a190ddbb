from pathlib import Path

import pytest

from phosphene_server.errors import DamagedModel
from phosphene_server.models.manifest import Manifest, read_labels, read_manifest
from phosphene_server.values.image import ImageSize


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "network" / "1"
    path.mkdir(parents=True)
    return path


def write(folder: Path, text: str) -> Manifest:
    (folder / "manifest.yaml").write_text(text, encoding="utf-8")
    return read_manifest(folder)


def test_without_a_manifest_the_input_is_that_of_imagenet_networks(folder):
    preprocessing = read_manifest(folder).input.preprocessing()
    assert preprocessing.size == ImageSize(224, 224)
    assert preprocessing.mean == (0.485, 0.456, 0.406)


def test_one_mean_stands_for_all_channels(folder):
    preprocessing = write(folder, "input: {mean: [127.5], std: [63], range: [0, 255]}").input.preprocessing()
    assert (preprocessing.mean, preprocessing.std, preprocessing.high) == ((127.5,) * 3, (63.0,) * 3, 255.0)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("input: {size: [96]}", "input.size"),
        ("input: {std: [0.2, 0, 0.2]}", "input.std.1"),
        ("input: {channel_order: cmyk}", "input.channel_order"),
        ("labelz: labels.txt", "labelz"),
        ("trusted: perhaps", "trusted"),
    ],
)
def test_a_wrong_field_is_named(folder, text, field):
    with pytest.raises(DamagedModel, match=f"manifest field {field}"):
        write(folder, text)


def test_what_is_no_yaml_is_told(folder):
    with pytest.raises(DamagedModel, match="not valid YAML"):
        write(folder, "input: [unclosed")


def test_labels_are_read_from_the_file_beside_the_manifest(folder):
    (folder / "labels.txt").write_text("cat\n\ndog\n", encoding="utf-8")
    assert read_labels(folder, write(folder, "labels: labels.txt")) == ("cat", "dog")


@pytest.mark.parametrize("name", ["missing.txt", "../../labels.txt", "/etc/hostname"])
def test_labels_are_read_from_nowhere_else(folder, name):
    with pytest.raises(DamagedModel, match="labels"):
        read_labels(folder, write(folder, f"labels: {name}"))

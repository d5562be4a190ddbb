from itertools import pairwise
from pathlib import Path

import pytest

from phosphene_server.errors import DamagedModel
from phosphene_server.models.manifest import Manifest, read_labels, read_manifest, read_other_inputs
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


def test_what_a_manifest_does_not_say_is_left_to_the_file(folder):
    assert write(folder, "").input.left_open() == {"size", "channel_order", "layout"}
    assert write(folder, "input: {size: [8, 8], layout: nhwc}").input.left_open() == {"channel_order"}


def test_other_inputs_are_numbers_or_lists_of_them(folder):
    given = read_other_inputs(folder, write(folder, "other_inputs: {mask: 1, steps: [[1.5, 2], [3, 4]]}"))
    assert {item.name: item.value.shape for item in given} == {"mask": (), "steps": (2, 2)}


@pytest.mark.parametrize("value", ["[[1, 2], [3]]", "text", "null", "{a: 1}", "[2020-01-01]"])
def test_other_inputs_that_are_no_numbers_are_refused(folder, value):
    with pytest.raises(DamagedModel, match=r"other_inputs.mask: expected a number or nested lists of numbers"):
        read_other_inputs(folder, write(folder, f"other_inputs: {{mask: {value}}}"))


def test_aliases_that_multiply_are_refused(folder: Path) -> None:
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]" for before, after in pairwise("abcdefghi")]
    (folder / "manifest.yaml").write_text("\n".join([*lines, "other_inputs: {mask: *i}"]), encoding="utf-8")
    with pytest.raises(DamagedModel, match="aliases are not read"):
        read_manifest(folder)


def test_a_manifest_that_is_nested_without_end_is_refused(folder: Path) -> None:
    (folder / "manifest.yaml").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(DamagedModel, match="not valid YAML"):
        read_manifest(folder)


def test_a_manifest_of_megabytes_is_refused(folder: Path) -> None:
    (folder / "manifest.yaml").write_text("description: " + "a" * 2**21, encoding="utf-8")
    with pytest.raises(DamagedModel, match="at most 1048576"):
        read_manifest(folder)


def test_a_wrong_value_is_shown_in_short(folder: Path) -> None:
    (folder / "manifest.yaml").write_text(f"labels: {[[1] * 100] * 100}", encoding="utf-8")
    with pytest.raises(DamagedModel, match="labels") as caught:
        read_manifest(folder)
    assert len(str(caught.value)) < 500

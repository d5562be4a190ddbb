"""Options of a manifest."""

from pathlib import Path

import pytest

from phosphene_server.errors import InvalidArgument
from phosphene_server.models.manifest import parse_manifest
from phosphene_server.workbench.options import MANIFEST_OPTIONS, labels_of, manifest_of


def test_options_become_fields():
    given = {"--size": "24x32", "--mean": "0.1,0.2,0.3", "--std": "2", "--range": "0,255", "--channel-order": "bgr"}
    manifest, labels = manifest_of(
        None, {**given, "--description": "Small.", "--source": None}, name="net", trusted=True
    )
    assert manifest == {
        "description": "Small.",
        "trusted": True,
        "input": {
            "size": [24, 32],
            "mean": [0.1, 0.2, 0.3],
            "std": [2.0],
            "range": [0.0, 255.0],
            "channel_order": "bgr",
        },
    }
    assert labels == ()


def test_every_option_is_a_field_that_a_manifest_has(tmp_path: Path):
    texts = {"--size": "8", "--mean": "1", "--std": "1", "--range": "0,1", "--channel-order": "rgb"}
    manifest, _ = manifest_of(
        None, {option: texts.get(option, "x") for option in MANIFEST_OPTIONS}, name="", trusted=False
    )
    (tmp_path / "manifest.yaml").write_text(str(manifest))  # JSON-like text is YAML
    assert parse_manifest(tmp_path / "manifest.yaml", name="net").input.size == (8, 8)


def test_options_go_before_the_manifest_that_is_given(tmp_path: Path):
    path = tmp_path / "given.yaml"
    path.write_text("description: Old.\nlabels: [a, b]\nsha256: {model.onnx: '00'}\ninput: {mean: [1], size: [9, 9]}\n")
    manifest, labels = manifest_of(path, {"--description": "New.", "--mean": "2"}, name="net", trusted=False)
    assert manifest == {"description": "New.", "input": {"mean": [2.0], "size": [9, 9]}}
    assert labels == ("a", "b")


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--size", "7"),
        ("--size", "8x8x8"),
        ("--size", "big"),
        ("--mean", "1,2"),
        ("--mean", "nan"),
        ("--std", "0"),
        ("--std", "-1,1,1"),
        ("--range", "1"),
        ("--range", "1,1"),
        ("--channel-order", "cmyk"),
    ],
)
def test_wrong_option_is_told_by_its_name(option: str, text: str):
    with pytest.raises(InvalidArgument) as caught:
        manifest_of(None, {option: text}, name="net", trusted=False)
    assert caught.value.field == option
    assert text in caught.value.value


def test_gray_pictures_have_one_mean():
    with pytest.raises(InvalidArgument, match="--mean"):
        manifest_of(None, {"--channel-order": "gray", "--mean": "1,2,3"}, name="net", trusted=False)


def test_labels_are_lines_of_a_file_or_words(tmp_path: Path):
    path = tmp_path / "labels.txt"
    path.write_text("a, b\n\n c \n")
    assert labels_of(str(path)) == ("a, b", "c")
    assert labels_of("cat, dog") == ("cat", "dog")
    assert labels_of(None) == ()
    with pytest.raises(InvalidArgument, match="--labels"):
        labels_of("absent.txt")

"""`phosphene models check | add | export`, run for real."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from phosphene.cli import app, model_files


def command(*words: object):
    return CliRunner().invoke(app, ["models", *map(str, words)])


def test_check_shows_what_was_found(classifier: Path):
    answer = command("check", classifier, "--layers")
    assert answer.exit_code == 0
    for text in ("onnx (opset 17", "picture: float32 (any, 3, 8, 8)", "of onnxruntime", "gradient", "it can be used"):
        assert text in answer.stdout
    assert "convolution" in answer.stdout


def test_check_lists_every_missing_operator_and_fails(foreign: Path):
    answer = command("check", foreign)
    assert answer.exit_code == 1
    assert "com.example::Glow in glow" in answer.stdout
    assert "com.example::Sparkle in sparkle_1, sparkle_2" in answer.stdout


def test_added_model_is_served_with_its_labels(classifier: Path, tmp_path: Path):
    labels = tmp_path / "names.txt"
    labels.write_text("\n".join("abcde"))
    words = ("--name", "net", "--labels", labels, "--mean", "0.5", "--std", "0.25", "--description", "Small.")
    answer = command("add", classifier, "--repository", tmp_path / "models", *words)
    assert answer.exit_code == 0, answer.stderr
    assert "added" in answer.stdout
    assert "phosphene serve --model-repository" in answer.stdout
    assert (tmp_path / "models" / "net" / "1" / "labels.txt").read_text().split() == list("abcde")


def test_add_refuses_labels_that_do_not_fit(classifier: Path, tmp_path: Path):
    answer = command("add", classifier, "--repository", tmp_path / "models", "--name", "net", "--labels", "a,b")
    assert answer.exit_code == 1
    assert "2 names for the 5 logits" in answer.stdout
    assert answer.stderr.startswith("error: the model was not added")
    assert list((tmp_path / "models").iterdir()) == []


def test_add_tells_which_option_is_wrong(classifier: Path, tmp_path: Path):
    answer = command("add", classifier, "--repository", tmp_path, "--name", "net", "--mean=-1,x")
    assert answer.exit_code == 1
    assert answer.stderr.startswith("error: --mean: expected one number, or three")


def test_exported_model_passes_the_check(tmp_path: Path):
    words = ("torchvision:squeezenet1_1", "--weights", "none", "--size", "64", "--format", "torch_export")
    answer = command("export", *words, "--repository", tmp_path, "--name", "squeezed")
    assert answer.exit_code == 0, answer.stderr
    assert "it can be used" in answer.stdout
    assert "Random weights" in (tmp_path / "squeezed" / "1" / "manifest.yaml").read_text()


def test_json_is_the_whole_report(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model_files.subprocess, "run", answering({"passed": True, "model": None}))
    answer = command("check", "any.onnx", "--json")
    assert json.loads(answer.stdout) == {"passed": True, "model": None}


def test_command_that_dies_is_one_line(monkeypatch: pytest.MonkeyPatch):
    died = SimpleNamespace(stdout="", stderr="Traceback\nImportError: no", returncode=1)
    monkeypatch.setattr(model_files.subprocess, "run", lambda *words, **options: died)
    answer = command("check", "any.onnx")
    assert answer.exit_code == 1
    assert answer.stderr == "error: models check ended with status 1: ImportError: no\n"


def answering(document: object):
    return lambda *words, **options: SimpleNamespace(stdout=json.dumps(document), stderr="", returncode=0)

"""What an examination finds, within this process."""

from pathlib import Path

import pytest
import torch

from phosphene_server.models import loading
from phosphene_server.workbench.examination import examine


def test_sound_file_passes_with_every_stage(classifier: Path):
    report = examine(classifier, name="net", manifest_path=None, size=None)
    assert report.problems == []
    assert (report.format, report.written_as) == ("onnx", "opset 17, com.example 1, IR version 8")
    assert list(report.seconds) == ["read", "import", "probe", "parity", "gradient"]
    assert [layer["name"] for layer in report.model["layers"]] == ["conv", "relu", "pool", "flat", "fc"]
    assert report.model["parity"]["largest_deviation"] < 1e-5
    assert report.gradient["relative_error"] < 1e-4
    assert report.model["preprocessing"]["size"] == {"height": 8, "width": 8}


def test_all_missing_operators_are_listed_with_all_their_nodes(foreign: Path):
    report = examine(foreign, name="net", manifest_path=None, size=None)
    assert report.missing_operators == (
        ("com.example::Glow", ("glow",)),
        ("com.example::Sparkle", ("sparkle_1", "sparkle_2")),
    )
    assert not report.passed


def test_departing_model_is_a_problem_and_is_shown_all_the_same(classifier: Path, monkeypatch: pytest.MonkeyPatch):
    sound = loading.IMPORTERS["onnx"]

    def departing(path: Path, *, name: str):
        graph = sound(path, name=name)
        (relu,) = (node for node in graph.module.graph.nodes if node.name == graph.layer("relu").node)
        relu.target = torch.tanh
        graph.module.recompile()
        return graph

    monkeypatch.setattr(loading, "IMPORTERS", {**loading.IMPORTERS, "onnx": departing})
    report = examine(classifier, name="net", manifest_path=None, size=None)
    assert report.departing_layer == "relu"
    assert report.problems[0].startswith("layer 'relu' departs from onnxruntime")
    assert len(report.model["layers"]) == 5
    assert report.gradient["relative_error"] < 1e-4  # it is the gradient of what the graph computes


def test_programs_need_trust_to_be_served_but_not_to_be_checked(traced: Path):
    report = examine(traced, name="net", manifest_path=None, size=(16, 16))
    assert report.passed
    assert "trusted: true" in report.remarks[0]
    assert report.model["parity"]["runtime"].endswith("(TorchScript)")


def test_manifest_beside_the_file_is_used(classifier: Path):
    (classifier.parent / "manifest.yaml").write_text("labels: [a, b]\ninput: {range: [0, 255]}\n")
    report = examine(classifier, name="net", manifest_path=None, size=None)
    assert report.problems == ["labels: 2 names for the 5 logits of layer 'fc'"]


def test_fault_of_our_own_is_one_line(classifier: Path, monkeypatch: pytest.MonkeyPatch):
    def faulty(path: Path, *, name: str):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 TB\nand a trace")

    monkeypatch.setattr(loading, "IMPORTERS", {"onnx": faulty})
    (problem,) = examine(classifier, name="net", manifest_path=None, size=None).problems
    assert problem.startswith("it needs more memory than the limit")
    assert "\n" not in problem

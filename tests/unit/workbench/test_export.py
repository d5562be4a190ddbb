"""Models of libraries become entries; nothing is downloaded here."""

import json
from pathlib import Path
from urllib.error import URLError

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from phosphene_server.errors import InvalidArgument, ModelUnusable, NotFound, Unsupported
from phosphene_server.models.loading import IMPORTERS
from phosphene_server.models.repository import Repository
from phosphene_server.values.model import ModelReference
from phosphene_server.workbench import export
from phosphene_server.workbench.exporting import export_module
from phosphene_server.workbench.libraries import LIBRARIES, LibraryModel
from phosphene_server.workbench.libraries.timm_models import timm_model
from phosphene_server.workbench.libraries.torchvision_models import torchvision_model

PICTURES = torch.rand(3, 3, 24, 40, generator=torch.Generator().manual_seed(0))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.norm(self.conv(x))).mean(dim=(2, 3)))


def small() -> nn.Module:
    torch.manual_seed(0)
    network = Small()
    network.norm.running_mean = torch.randn(4)
    return network.eval()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library with one small model."""
    made = LibraryModel(small(), (16, 16), (0.5,) * 3, (0.25,) * 3, ("cat", "dog"), "Small.", "here", "MIT")
    monkeypatch.setattr(export, "LIBRARIES", {"tiny": lambda name, weights: made})


@pytest.mark.parametrize("kind", IMPORTERS)
@pytest.mark.usefixtures("library")
def test_entry_has_what_the_library_says_and_computes_the_same(kind, tmp_path: Path, capsys):
    words = ["tiny:small", "--format", kind, "--repository", str(tmp_path), "--no-check"]
    assert export.main(words) == 0
    assert json.loads(capsys.readouterr().out)["entry"] == str(tmp_path / "small" / "1")
    source = Repository(tmp_path).resolve(ModelReference("small"))
    assert (source.reference.format, source.description, source.labels) == (kind, "Small.", ("cat", "dog"))
    assert (source.preprocessing.size.height, source.preprocessing.mean) == (16, (0.5,) * 3)
    graph = IMPORTERS[kind](source.path, name="small")
    with torch.no_grad():
        torch.testing.assert_close(
            graph(PICTURES)[0], small()(PICTURES), rtol=1e-4, atol=1e-5
        )  # another batch and size
    assert {"conv", "norm", "fc"} <= graph.layers.keys()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("model", ["small", "other:small", "tiny:"])
def test_unknown_libraries_are_told(model: str, tmp_path: Path, capsys):
    assert export.main([model, "--repository", str(tmp_path)]) == 1
    assert "expected tiny:NAME" in json.loads(capsys.readouterr().out)["error"]


def test_network_that_cannot_be_written_is_told_in_one_line(tmp_path: Path):
    class Deciding(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(Unsupported, match="writing this network as torch_export") as caught:
        export_module(Deciding(), channels=3, size=(8, 8), kind="torch_export", path=tmp_path / "model.pt2")
    assert "\n" not in str(caught.value)


def test_random_weights_of_torchvision_are_called_random():
    made = torchvision_model("squeezenet1_1", "none")
    assert made.labels == ()
    assert made.description.endswith("Random weights: it was never trained, and its pictures show nothing.")
    assert (made.size, made.mean) == ((224, 224), (0.485, 0.456, 0.406))
    assert not made.module.training


def test_weights_of_torchvision_come_with_their_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    weights = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    network = torchvision.models.squeezenet1_1(weights=None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(network.state_dict(), folder / weights.url.rpartition("/")[2])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    made = torchvision_model("squeezenet1_1", "DEFAULT")
    assert (len(made.labels), made.labels[0]) == (1000, "tench")
    assert "weights IMAGENET1K_V1" in made.description
    assert made.source == weights.url
    assert torch.equal(made.module.state_dict()["features.0.weight"], network.state_dict()["features.0.weight"])


def test_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    def offline(*arguments: object, **options: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(ModelUnusable, match=r"could not be downloaded from https://.*no route.*--weights none"):
        torchvision_model("squeezenet1_1", "DEFAULT")


def test_what_torchvision_does_not_have_is_told_with_what_it_has():
    with pytest.raises(NotFound) as caught:
        torchvision_model("resnet51", "none")
    assert "resnet50" in caught.value.nearest
    with pytest.raises(InvalidArgument, match="IMAGENET1K_V1"):
        torchvision_model("squeezenet1_1", "IMAGENET22K")
    with pytest.raises(Unsupported, match="VideoClassification"):
        torchvision_model("r3d_18", "none")


def test_random_weights_of_timm_are_called_random():
    made = timm_model("test_vit", "none")
    assert made.labels == ()
    assert "Random weights" in made.description
    assert (made.size, len(made.mean)) == ((160, 160), 3)


def test_weights_of_timm_come_with_their_classes(monkeypatch: pytest.MonkeyPatch):
    build = timm.create_model
    asked = []

    def local(name: str, *, pretrained: bool) -> nn.Module:
        asked.append((name, pretrained))
        return build(name, pretrained=False)

    monkeypatch.setattr(timm, "create_model", local)
    made = timm_model("test_vit", "r160_in1k")
    assert asked == [("test_vit.r160_in1k", True)]
    assert (len(made.labels), made.licence) == (1000, "apache-2.0")
    assert made.source == "https://huggingface.co/timm/test_vit.r160_in1k"


def test_what_timm_cannot_give_is_told(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(NotFound, match="resnet"):
        timm_model("resnet_18", "none")
    with pytest.raises(InvalidArgument, match="r160_in1k"):
        timm_model("test_vit", "nonsense")

    def offline(name: str, *, pretrained: bool) -> None:
        raise OSError("the hub does not answer")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ModelUnusable, match=r"the hub does not answer.*--weights none"):
        timm_model("test_vit", "DEFAULT")


def test_every_library_has_a_function():
    assert set(LIBRARIES) == {"torchvision", "timm"}

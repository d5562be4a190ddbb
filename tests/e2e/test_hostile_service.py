"""A repository with files that mean harm: each is refused by name, and the service goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import phosphene
from phosphene import errors
from tests.hostile.corpus import FILES, PROOF, HostileModel
from tests.hostile.loading import CORPUS

NAMES = (
    "onnx-truncated",
    "onnx-external-parent",
    "onnx-doubling",
    "torchscript-setstate",
    "torchscript-tall-power",
    "torch-export-pickled",
)
MODELS = {model.name: model for model in CORPUS if model.name in NAMES}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[phosphene.Client]:
    root = tmp_path_factory.mktemp("hostile")
    for model in MODELS.values():
        write_entry(root / model.name / "1", model)
    with phosphene.launch(model_repository=root) as embedded:
        yield embedded
    assert not list(root.rglob(PROOF))


def write_entry(folder: Path, model: HostileModel) -> None:
    folder.mkdir(parents=True)
    model.write(folder / FILES[model.format])
    (folder.parent / PROOF).unlink(missing_ok=True)  # making a file may run what loading it must not
    manifest = {"trusted": True, "input": {"size": [8, 8]}}
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_model_is_refused_by_name_and_the_service_goes_on(client: phosphene.Client, name: str) -> None:
    with pytest.raises(errors.ModelUnusable, match=name):
        client.model(name)
    assert client.model("shapes").labels

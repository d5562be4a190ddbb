"""What every test may use."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent

# Read by OpenMP when torch is imported: on a busy machine its threads would spin for one another for long.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


@pytest.fixture(scope="session")
def trained_networks() -> Path:
    """The folder of really trained networks beside a checkout; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared" / "models"
    if not folder.is_dir():
        pytest.skip("the folder of trained networks is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def trained_repository(trained_networks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository of the trained networks; an ONNX file of another opset becomes a model of its own."""
    root = tmp_path_factory.mktemp("repository")
    for folder in sorted(path for path in trained_networks.iterdir() if path.is_dir()):
        for file in sorted(folder.glob("model*")):
            suffix = file.stem.removeprefix("model")
            target = root / f"{folder.name}{suffix}" / "1"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / f"model{file.suffix}")
            shutil.copyfile(folder / "labels.txt", target / "labels.txt")
            (target / "manifest.yaml").write_text(yaml.safe_dump(manifest_of(folder)), encoding="utf-8")
    return root


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest that says what the `meta.json` of a trained network says."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    reads = meta["input"]
    high = 255.0 if reads["value_range"].startswith("0..255") else 1.0
    return {
        "description": f"{meta['architecture']} trained on {meta['dataset']}",
        "trusted": True,
        "labels": "labels.txt",
        "input": {
            "size": reads["shape"][2:],
            "channel_order": reads["channel_order"].lower(),
            "range": [0.0, high],
            "mean": reads["mean"],
            "std": reads["std"],
        },
    }

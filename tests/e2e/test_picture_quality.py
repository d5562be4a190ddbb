"""Are the pictures what was asked for? The networks themselves say so, read by torch's own runtime, not by ours.

`benchmarks/picture_quality.py` measures more, and longer.
"""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import phosphene
import phosphene_server.models
from phosphene import objectives

BUNDLED = Path(phosphene_server.models.__file__).parent / "bundled" / "shapes" / "1" / "model.pt"


def probabilities(network: Path, pictures: NDArray[np.uint8], *, mean: list[float], std: list[float]) -> torch.Tensor:
    """What a traced network says of pictures (picture, height, width, 3), (picture, class)."""
    inputs = torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float()
    inputs = (inputs - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        return torch.jit.load(network)(inputs).softmax(dim=1)


def dream(client: phosphene.Client, model: str, classes: list[int], **options: object) -> NDArray[np.uint8]:
    """The pictures of classes, found side by side."""
    runs = [client.maximize(model, objectives.class_logit(index), frame_every=0, **options) for index in classes]
    return np.concatenate([run.result().images for run in runs])


def test_the_bundled_network_is_sure_of_the_pictures_of_its_classes() -> None:
    with phosphene.launch() as client:
        labels = client.model("shapes").labels
        pictures = dream(client, "shapes", list(range(len(labels))), steps=256, seed=1)
    sure = probabilities(BUNDLED, pictures, mean=[127.5] * 3, std=[63.75] * 3).diagonal()
    assert (sure >= 0.99).double().mean() >= 0.95, dict(zip(labels, sure.tolist(), strict=True))


def test_a_trained_network_names_what_was_drawn_for_it(trained_networks: Path, trained_repository: Path) -> None:
    """Ostrich, macaw, flamingo and zebra; after half of the usual steps, at half of the usual size."""
    classes = [9, 88, 130, 340]
    reads = json.loads((trained_networks / "squeezenet1_0" / "meta.json").read_text(encoding="utf-8"))["input"]
    with phosphene.launch(model_repository=trained_repository) as client:
        pictures = dream(client, "squeezenet1_0", classes, steps=128, size=(112, 112), seed=0)
    file = trained_networks / "squeezenet1_0" / "model.pt"
    seen = probabilities(file, pictures, mean=reads["mean"], std=reads["std"])
    assert seen.argmax(dim=1).tolist() == classes

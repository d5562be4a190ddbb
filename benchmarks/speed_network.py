"""The network that all contenders share: GoogLeNet of torchvision with random weights from a fixed seed.

    python -m benchmarks.speed_network      writes the model repository of the service

The running statistics of its normalizations are those of noise, so that activations and gradients have the sizes that
they have in a trained network; without that they fade from layer to layer.
"""

import warnings

import torch
import torchvision
import yaml
from torch import nn

from benchmarks.speed_cases import MODEL, REPOSITORY, SEED

SETTLING_PICTURES = 8


def googlenet() -> nn.Module:
    """Return the network for inference, its weights not frozen, as a user of torchvision has it."""
    torch.manual_seed(SEED)
    network: nn.Module = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=False)
    noise = torch.randn(SETTLING_PICTURES, 3, 224, 224)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean over all batches, of which there is one
    with torch.no_grad():
        network.train()(noise)
    return network.eval()


def write_repository() -> None:
    """Write the network as ONNX, with the exporter's own options, and its manifest; what is there already stays."""
    folder = REPOSITORY / MODEL / "1"
    if (folder / "manifest.yaml").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(action="ignore"):
        example = torch.rand(2, 3, 224, 224)
        torch.onnx.export(
            googlenet(), (example,), folder / "model.onnx", dynamo=True, verbose=False,
            external_data=False, dynamic_shapes=({0: torch.export.Dim.AUTO},),
        )  # fmt: skip
    manifest = {"description": "GoogLeNet with random weights", "input": {"size": [224, 224]}}
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest), encoding="utf-8")


if __name__ == "__main__":
    write_repository()

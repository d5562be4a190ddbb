"""Exports architectures of torchvision and timm in every format, as their users would.

    python benchmarks/import_architectures.py torchvision:resnet18 build/import_coverage

writes the three files with default options and an example of one picture, and beside them what eager PyTorch computes
in float64 for two pictures. Weights are random: what counts is the arithmetic, and no download is needed.
"""

import argparse
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

FILES: Mapping[str, str] = {"onnx": "model.onnx", "torch_export": "model.pt2", "torchscript": "model.pt"}

TORCHVISION = (
    "alexnet",
    "vgg11_bn",
    "squeezenet1_1",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "densenet121",
    "googlenet",
    "inception_v3",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "shufflenet_v2_x1_0",
    "mnasnet1_0",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "regnet_y_400mf",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
    "swin_v2_t",
    "maxvit_t",
    "segmentation.fcn_resnet50",
    "segmentation.deeplabv3_mobilenet_v3_large",
    "segmentation.lraspp_mobilenet_v3_large",
)
TIMM = (
    "beit_base_patch16_224",
    "cait_xxs24_224",
    "coat_lite_tiny",
    "convnextv2_atto",
    "crossvit_tiny_240",
    "cspdarknet53",
    "deit_tiny_patch16_224",
    "dla34",
    "edgenext_xx_small",
    "efficientformer_l1",
    "eva02_tiny_patch14_224",
    "fastvit_t8",
    "ghostnet_100",
    "gmlp_s16_224",
    "hrnet_w18_small",
    "levit_128s",
    "mixer_s32_224",
    "mobilenetv4_conv_small",
    "mobileone_s0",
    "mobilevit_xxs",
    "nf_resnet26",
    "poolformer_s12",
    "pvt_v2_b0",
    "repvgg_a0",
    "res2net50_26w_4s",
    "resmlp_12_224",
    "resnest14d",
    "resnetv2_50",
    "rexnet_100",
    "seresnet50",
    "swinv2_cr_tiny_224",
    "tf_efficientnet_lite0",
    "tiny_vit_5m_224",
    "twins_pcpvt_small",
    "vit_small_patch32_224",
    "volo_d1_224",
    "xcit_nano_12_p16_224",
)
ARCHITECTURES = tuple(f"torchvision:{name}" for name in TORCHVISION) + tuple(f"timm:{name}" for name in TIMM)

SIZES = {"torchvision:inception_v3": 299}
"""Sides of pictures, in pixels, where they are not what timm says or 224."""

SMALL = 1e-3
"""Weights that all stay below this in a fresh network (LayerScale, zeroed heads) would hide what is behind them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architecture", choices=ARCHITECTURES)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    export(options.architecture, folder_of(options.folder, options.architecture))


def folder_of(root: Path, architecture: str) -> Path:
    return root / architecture.replace(":", "_")


def export(architecture: str, folder: Path) -> None:
    """Write the files of an architecture and what eager PyTorch makes of two pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    network, size = build(architecture)
    picture = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    failures = {}
    writers: Mapping[str, Callable[[nn.Module, Tensor, Path], None]] = {
        "torchscript": write_torchscript,
        "torch_export": write_torch_export,
        "onnx": write_onnx,
    }
    for name, write in writers.items():
        try:
            write(network, picture, folder / FILES[name])
        except Exception as error:  # an exporter may fail in any way; the table says so
            failures[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
    torch.save(reference(network.double(), size), folder / "reference.pth")
    (folder / "exported.json").write_text(json.dumps({"size": size, "failures": failures}), encoding="utf-8")


def build(architecture: str) -> tuple[nn.Module, int]:
    """Return a network for inference with random weights that leave nothing at zero, and its picture size."""
    torch.manual_seed(0)
    library, _, name = architecture.partition(":")
    made: Any  # which has its configuration beside what a module has
    network: nn.Module
    if library == "timm":
        network = made = timm.create_model(name, pretrained=False)
        size = made.default_cfg["input_size"][-1]
    else:
        options = {"init_weights": True} if name in {"googlenet", "inception_v3"} else {}
        if name.startswith("segmentation."):
            network = torchvision.models.get_model(name.partition(".")[2], weights=None, weights_backbone=None)
        else:
            network = torchvision.models.get_model(name, weights=None, **options)
        size = SIZES.get(architecture, 224)
    enliven(network)
    return network.eval(), size


def enliven(network: nn.Module) -> None:
    """Give statistics and weights that start at zero or one values of a trained network's size."""
    with torch.no_grad():
        for name, statistics in network.named_buffers():
            if name.endswith("running_mean"):
                statistics.normal_(0, 0.1)
            elif name.endswith("running_var"):
                statistics.uniform_(0.5, 1.5)
        for parameter in network.parameters():
            if parameter.abs().max() < SMALL:
                parameter.normal_(0, 0.1 if parameter.ndim == 1 else 0.02)


def write_torchscript(network: nn.Module, picture: Tensor, path: Path) -> None:
    torch.jit.save(torch.jit.trace(network, picture, check_trace=False, strict=False), path)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def write_torch_export(network: nn.Module, picture: Tensor, path: Path) -> None:
    torch.export.save(torch.export.export(network, (picture,)), path)


def write_onnx(network: nn.Module, picture: Tensor, path: Path) -> None:
    torch.onnx.export(network, (picture,), path, dynamo=True, verbose=False)


def export_unfolded(architecture: str, source: Path, folder: Path) -> None:
    """Write an ONNX file as the network is, nothing folded, beside what eager PyTorch computed before in `source`."""
    folder.mkdir(parents=True, exist_ok=True)
    network, size = build(architecture)
    torch.onnx.export(network, (torch.zeros(1, 3, size, size),), folder / FILES["onnx"], dynamo=True, optimize=False)
    shutil.copyfile(source / "reference.pth", folder / "reference.pth")
    (folder / "exported.json").write_text(json.dumps({"size": size, "failures": {}}), encoding="utf-8")


def reference(network: nn.Module, size: int) -> dict[str, Any]:
    """Return the outputs for two pictures and the gradient of one number of them, in float64."""
    pictures = torch.randn(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    pictures.requires_grad_()
    outputs = list(tensors(network(pictures)))
    (gradient,) = torch.autograd.grad(projection(outputs), pictures)
    return {"pictures": pictures.detach(), "outputs": [output.detach() for output in outputs], "gradient": gradient}


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in what a network returns."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors(part)


def projection(outputs: list[Tensor]) -> Tensor:
    """Return one number that depends on every element of every output, each with its own weight."""
    generator = torch.Generator().manual_seed(3)
    weights = [torch.randn(output.shape, dtype=torch.float64, generator=generator) for output in outputs]
    return torch.stack([(output * weight).sum() for output, weight in zip(outputs, weights, strict=True)]).sum()


if __name__ == "__main__":
    main()

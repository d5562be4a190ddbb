"""Writes the trained network in the three formats that the service reads, with the manifest that describes them.

    python -m training.shapes.export [--checkpoint build/shapes/checkpoint.pt] [--folder service/.../bundled/shapes/1]

Before the manifest is written each file is read back by its own runtime and compared with the network, at two batch sizes
and two picture sizes; a file that disagrees ends the export.
"""

import argparse
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import torch
import yaml
from torch import Tensor, nn

from training.shapes.network import MEAN, STD, ShapesNetwork
from training.shapes.pictures import CLASSES, SIZE
from training.shapes.train import CHECKPOINT

FOLDER = Path("service/phosphene_server/models/bundled/shapes/1")
OPSET = 20

Runner = Callable[[Tensor], Tensor]


def write_onnx(network: nn.Module, path: Path) -> None:
    """One file, weights included, any batch and picture size, module names in the nodes' metadata."""
    program = torch.onnx.export(
        network,
        (torch.rand(2, 3, SIZE, SIZE),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["pictures"],
        output_names=["logits"],
        dynamic_shapes=(_any_size(),),
        verbose=False,
    )
    assert program is not None  # it is None only for the older exporter
    program.save(str(path), external_data=False)


def write_torchscript(network: nn.Module, path: Path) -> None:
    """The trace of one picture. Nothing in the network depends on its size, so it holds for all."""
    traced: Any = torch.jit.trace(network, torch.rand(1, 3, SIZE, SIZE))
    traced.save(str(path))


def write_torch_export(network: nn.Module, path: Path) -> None:
    """The exported program, for any batch and picture size."""
    torch.export.save(torch.export.export(network, (torch.rand(2, 3, SIZE, SIZE),), dynamic_shapes=(_any_size(),)), path)


def _any_size() -> dict[int, Any]:
    return {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}


def read_onnx(path: Path) -> Runner:
    """The model as ONNX Runtime computes it on the processor."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda pictures: torch.from_numpy(session.run(None, {"pictures": pictures.numpy()})[0])


def read_torchscript(path: Path) -> Runner:
    """The model as TorchScript computes it."""
    loaded: Runner = torch.jit.load(str(path))
    return loaded


def read_torch_export(path: Path) -> Runner:
    """The model as its exported program computes it."""
    return torch.export.load(path).module()

"""Writes the trained network in the three formats that the service reads, with the manifest that describes them.

    python -m training.shapes.export [--checkpoint build/shapes/checkpoint.pt] [--folder service/.../bundled/shapes/1]

Before the manifest is written each file is read back by its own runtime and compared with the network, at two batch
sizes and two picture sizes; a file that disagrees ends the export. None of them holds a path of the machine that wrote
it: the exporters record where each line of source lay, and we leave that out.
"""

import argparse
import hashlib
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules.common import remove_optional_bias_from_conv_rule
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from training.shapes.network import MEAN, STD, ShapesNetwork
from training.shapes.pictures import CLASSES, SIZE
from training.shapes.train import CHECKPOINT

FOLDER = Path("service/phosphene_server/models/bundled/shapes/1")
OPSET = 20

_SMALLEST = 32  # height and width in pixels below which too little is left of a picture behind the last pooling
_AGREEMENT = {"model.onnx": 1e-4, "model.pt": 0.0, "model.pt2": 0.0}  # largest deviation of a logit that we accept

Runner = Callable[[Tensor], Tensor]


def exported(network: nn.Module) -> ExportedProgram:
    """The network as a program for any batch size and any picture size."""
    sizes = {0: Dim("batch"), 2: Dim("height", min=_SMALLEST), 3: Dim("width", min=_SMALLEST)}
    program = torch.export.export(network, (torch.rand(2, 3, SIZE, SIZE),), dynamic_shapes=(sizes,))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    program.example_inputs = None  # would be saved too, a quarter of the file
    return program


def write_onnx(program: ExportedProgram, path: Path) -> None:
    """One file, weights included, that keeps batch normalization and each node's module name in its metadata.

    The exporter's own optimization would fold batch normalization into the convolutions, and the filters in the file
    would no longer be those that were trained. So we only fold constants and drop the zero biases that it adds.
    """
    converted = torch.onnx.export(
        program,
        (),
        dynamo=True,
        opset_version=OPSET,
        input_names=["pictures"],
        output_names=["logits"],
        dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),
        optimize=False,
        verbose=False,
    )
    assert converted is not None  # it is None only for the exporter before this one
    optimizer.fold_constants(converted.model)
    rewriter.rewrite(converted.model, pattern_rewrite_rules=[remove_optional_bias_from_conv_rule])
    optimizer.remove_unused_nodes(converted.model)
    for node in converted.model.graph:
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)
    converted.save(str(path), external_data=False)


def write_torchscript(network: nn.Module, path: Path) -> None:
    """The trace of one picture. Nothing in the network depends on the picture's size, so it holds for all."""
    traced: Any = torch.jit.trace(network, torch.rand(1, 3, SIZE, SIZE))  # type: ignore[no-untyped-call]  # torch's own
    whole = path.with_suffix(".whole")
    traced.save(str(whole))
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            # Only tracebacks read the debug files; the identity is a digest over them, paths of this machine included.
            if not entry.filename.endswith((".debug_pkl", ".data/serialization_id")):
                renamed = entry.filename.replace(whole.stem, path.stem, 1)
                copy = zipfile.ZipInfo(renamed)  # a fixed date: the same weights give the same digest
                copy.compress_type = entry.compress_type
                target.writestr(copy, source.read(entry))
    whole.unlink()


def readers() -> dict[str, Callable[[Path], Runner]]:
    """What computes each file: file name to a function that loads it."""

    def onnx(path: Path) -> Runner:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda pictures: torch.from_numpy(session.run(None, {"pictures": pictures.numpy()})[0])

    def torchscript(path: Path) -> Runner:
        loaded: Runner = torch.jit.load(str(path))  # type: ignore[no-untyped-call]  # torch's own
        return loaded

    return {
        "model.onnx": onnx,
        "model.pt": torchscript,
        "model.pt2": lambda path: torch.export.load(path).module(),
    }


@torch.no_grad()
def deviation(network: nn.Module, runner: Runner) -> float:
    """Largest difference of any logit, over batches of one and three and pictures of 96 and 128 pixels."""
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch in (1, 3):
        for size in (96, 128):
            pictures = torch.randn(batch, 3, size, size, generator=generator)
            largest = max(largest, (runner(pictures) - network(pictures)).abs().max().item())
    return largest


def manifest(checkpoint: dict[str, Any], digests: dict[str, str]) -> str:
    """The manifest as YAML text."""
    numbers = "[{}, {}, {}]".format
    files = "\n".join(f"  {name}: {digest}" for name, digest in digests.items())
    return f"""\
name: shapes
version: "1"
description: A small convolutional network that names {len(CLASSES)} drawn textures, shapes and colours.
source: >-
  Trained by training/shapes with seed {checkpoint["seed"]} on {checkpoint["pictures"]} pictures that it draws itself;
  names {100 * checkpoint["accuracy"]:.2f} % of freshly drawn pictures rightly.
licence: MIT
trusted: true            # TorchScript and torch.export files are programs; this one is ours
input:
  size: [{SIZE}, {SIZE}]         # height, width the network was trained at
  fixed_size: false      # any size from {_SMALLEST} pixels works: it ends in the mean over the picture
  channel_order: rgb     # rgb | bgr | gray
  range: [0.0, 1.0]      # what black and white are before mean and std
  mean: {numbers(*MEAN)}
  std: {numbers(*STD)}
labels: labels.txt
logits: fc               # the layer whose output are the class logits, before any softmax
sha256:
{files}
"""


def export(checkpoint: dict[str, Any], folder: Path) -> None:
    """Writes and checks everything.

    Args:
        checkpoint: what `train` wrote.
        folder: where the files go; it is made if it is missing.

    Raises:
        RuntimeError: a file computes something else than the network.
    """
    network = ShapesNetwork(len(CLASSES))
    network.load_state_dict(checkpoint["state"])
    network.eval()
    folder.mkdir(parents=True, exist_ok=True)
    program = exported(network)
    torch.export.save(program, folder / "model.pt2")
    write_onnx(program, folder / "model.onnx")
    write_torchscript(network, folder / "model.pt")
    digests = {}
    for name, read in readers().items():
        path = folder / name
        off = deviation(network, read(path))
        if off > _AGREEMENT[name]:
            raise RuntimeError(f"{path} departs from the network by {off}; at most {_AGREEMENT[name]} was expected")
        digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"{name}: {path.stat().st_size} bytes, deviation {off:.1e}")
    (folder / "labels.txt").write_text("\n".join(CLASSES) + "\n")
    (folder / "manifest.yaml").write_text(manifest(checkpoint, digests))


def main() -> None:
    """Reads the checkpoint and exports it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="file that train wrote")
    arguments.add_argument("--folder", type=Path, default=FOLDER, help="folder to write to")
    chosen = arguments.parse_args()
    # TorchScript is announced to end; we write that format all the same.
    warnings.filterwarnings("ignore", message=".*torch.jit.*", category=FutureWarning)
    export(torch.load(chosen.checkpoint, weights_only=True), chosen.folder)


if __name__ == "__main__":
    main()

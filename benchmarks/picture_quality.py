"""How good the pictures of activation maximization are, measured on trained networks.

For 20 ImageNet classes the logit of squeezenet1_0 is maximised; then the network looks at the finished picture, as it
is, and so does mobilenet_v1_025, which had no part in it: what it recognises too is no accident of one network. For the
bundled network every class is maximised. Prints a table, writes all numbers to `benchmarks/results/` and a sheet of the
pictures to `build/`.

    python benchmarks/picture_quality.py --networks ../shared/models --size 128 --seed 0
"""

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from phosphene_server.maximization.ascent import Ascent
from phosphene_server.maximization.preparation import prepare
from phosphene_server.maximization.stepping import step
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.models.loading import load_model
from phosphene_server.models.preprocessing import preprocess
from phosphene_server.models.repository import Repository
from phosphene_server.values import maximization as values
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import ModelFormat, ModelReference, Preprocessing
from phosphene_server.values.work import ModelSource

ROOT = Path(__file__).resolve().parent.parent
CLASSES = (1, 9, 22, 71, 88, 107, 130, 207, 281, 340, 386, 417, 504, 609, 701, 817, 920, 951, 970, 985)
FILES: dict[ModelFormat, str] = {"onnx": "model.onnx", "torch_export": "model.pt2", "torchscript": "model.pt"}

TRANSFORM_SETS = {
    "default": values.DEFAULT_TRANSFORMS,
    "none": values.Transforms(),
    "wide": values.Transforms(  # a whole picture is seen as often as a part of it
        (
            values.ScaleTransform(0.6, 1.6),
            values.RotateTransform(20),
            values.JitterTransform(fraction=0.2),
            values.NoiseTransform(0.03),
        )
    ),
    "olah2017": values.Transforms(  # Olah et al. 2017, first footnote
        (
            values.PadTransform(16, "gray"),
            values.JitterTransform(pixels=16),
            values.ScaleTransform(0.95, 1.05),
            values.RotateTransform(5),
            values.JitterTransform(pixels=8),
        )
    ),
    "lucid": values.Transforms(  # optvis/transform.py, standard_transforms
        (
            values.PadTransform(12, "gray"),
            values.JitterTransform(pixels=4),
            values.ScaleTransform(0.9, 1.1),
            values.RotateTransform(10),
            values.JitterTransform(pixels=2),
        )
    ),
}


@dataclass(frozen=True)
class Judgement:
    """What a network says of one picture."""

    target: int
    label: str
    rank: int
    """How many classes it finds more likely than the target."""
    probability: float
    best: str


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    settings = {key: value for key, value in vars(options).items() if key != "networks"}  # no paths of one machine
    report: dict[str, object] = {"settings": settings}
    if options.networks.is_dir():
        report |= imagenet(options)
    report |= bundled(options)
    destination = ROOT / "benchmarks" / "results" / f"picture_quality_{options.name}.json"
    destination.parent.mkdir(parents=True, exist_ok=True)
    destination.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"numbers: {destination}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=Path, default=ROOT.parent / "shared" / "models", help="folder of networks")
    parser.add_argument("--format", choices=tuple(FILES), default="onnx", help="which file of each network")
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--size", type=int, default=128, help="side of the ImageNet pictures, in pixels")
    parser.add_argument("--shapes-size", type=int, default=96, help="side of the pictures of the bundled network")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transforms", choices=tuple(TRANSFORM_SETS), default="default")
    parser.add_argument("--batch", type=int, default=20, help="pictures in one batch")
    parser.add_argument("--threads", type=int, default=0, help="0: as torch chooses")
    parser.add_argument("--name", default="default", help="ends the names of the files that are written")
    return parser.parse_args()


def imagenet(options: argparse.Namespace) -> dict[str, object]:
    """Maximise classes of squeezenet1_0 and show the pictures to both networks."""
    shown = load_model(source(options.networks / "squeezenet1_0", options.format), torch.device("cpu"))
    other = load_model(source(options.networks / "mobilenet_v1_025", options.format), torch.device("cpu"))
    started = time.perf_counter()
    pictures = maximized(shown, CLASSES, options, size=options.size)
    seconds = time.perf_counter() - started
    own = judged(shown, pictures, CLASSES)
    transferred = judged(whole_picture(other), pictures, CLASSES)
    print_table(own, transferred)
    first = sum(judgement.rank == 0 for judgement in own)
    five = sum(judgement.rank < 5 for judgement in transferred)
    print(f"squeezenet1_0: target first for {first} of {len(CLASSES)}")
    print(f"mobilenet_v1_025, which had no part in it: target in the first five for {five} of {len(CLASSES)}")
    print(f"{seconds:.0f} s, {1000 * seconds / options.steps / len(CLASSES):.1f} ms for each picture and step")
    save_sheet(pictures, ROOT / "build" / f"picture_quality_squeezenet1_0_{options.name}.png")
    return {
        "squeezenet1_0": [asdict(judgement) for judgement in own],
        "mobilenet_v1_025": [asdict(judgement) for judgement in transferred],
        "seconds": seconds,
    }


def bundled(options: argparse.Namespace) -> dict[str, object]:
    """Maximise every class of the bundled network and show it its pictures."""
    model = load_model(Repository(None).resolve(ModelReference("shapes", format=options.format)), torch.device("cpu"))
    targets = tuple(range(len(model.model.labels)))
    pictures = maximized(model, targets, options, size=options.shapes_size)
    own = judged(model, pictures, targets)
    for judgement in own:
        print(f"shapes {judgement.label:24} {judgement.probability:.4f}")
    sure = sum(judgement.probability >= 0.99 for judgement in own)
    print(f"shapes: probability of 0.99 or more for {sure} of {len(targets)}")
    save_sheet(pictures, ROOT / "build" / f"picture_quality_shapes_{options.name}.png")
    return {"shapes": [asdict(judgement) for judgement in own]}


def source(folder: Path, model_format: ModelFormat) -> ModelSource:
    """Read the `meta.json` of a trained network."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    reads = meta["input"]
    path = folder / FILES[model_format]
    preprocessing = Preprocessing(
        channel_order=reads["channel_order"].lower(),
        low=0.0,
        high=255.0 if reads["value_range"].startswith("0..255") else 1.0,
        mean=tuple(reads["mean"]),
        std=tuple(reads["std"]),
        size=ImageSize(*reads["shape"][2:]),
        fixed_size=False,
    )
    return ModelSource(
        reference=ModelReference(meta["name"], "1", model_format),
        path=path,
        sha256=digest(path),
        size_bytes=path.stat().st_size,
        description=meta["architecture"],
        preprocessing=preprocessing,
        labels=tuple((folder / "labels.txt").read_text(encoding="utf-8").splitlines()),
        logits_layer="",
    )


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def maximized(model: LoadedModel, targets: Sequence[int], options: argparse.Namespace, *, size: int) -> Tensor:
    """Return a picture for each class, (batch, 3, height, width): each its own job, stepped together."""
    requests = [
        values.MaximizeActivationRequest(
            model=model.source.reference,
            objective=values.ClassLogitObjective(index=target),
            steps=options.steps,
            size=ImageSize(size, size),
            seed=options.seed,
            transforms=TRANSFORM_SETS[options.transforms],
        )
        for target in targets
    ]
    pictures = []
    for start in range(0, len(requests), options.batch):
        ascents = [Ascent(model, prepare(model, request)) for request in requests[start : start + options.batch]]
        for _ in range(options.steps):
            step(ascents)
        pictures += [ascent.images() for ascent in ascents]
    return torch.cat(pictures)


def whole_picture(model: LoadedModel) -> LoadedModel:
    """Return a model that is shown every picture at the size of its training, as its author showed it photos."""
    return replace(model, model=replace(model.model, preprocessing=replace(model.model.preprocessing, fixed_size=True)))


def judged(model: LoadedModel, pictures: Tensor, targets: Sequence[int]) -> list[Judgement]:
    """Show pictures to a network, untransformed, and return what it says of each."""
    with torch.no_grad():
        inputs = preprocess(pictures, model.model.preprocessing)
        logits = model.graph.cut([model.model.logits_layer])(inputs)[model.model.logits_layer]
    probabilities = logits.softmax(dim=1)
    labels = model.model.labels
    return [
        Judgement(
            target=target,
            label=labels[target],
            rank=int((row > row[target]).sum()),
            probability=float(row[target]),
            best=labels[int(row.argmax())],
        )
        for row, target in zip(probabilities, targets, strict=True)
    ]


def print_table(own: Sequence[Judgement], transferred: Sequence[Judgement]) -> None:
    print(f"{'class':30} {'own rank':>8} {'own p':>7} {'other rank':>10} {'other p':>7}  other sees")
    for first, second in zip(own, transferred, strict=True):
        print(
            f"{first.target:4} {first.label[:25]:25} {first.rank:8} {first.probability:7.3f}"
            f" {second.rank:10} {second.probability:7.3f}  {second.best}"
        )


def save_sheet(pictures: Tensor, path: Path, *, columns: int = 5, gap: int = 4) -> None:
    """Write all pictures into one, row by row, on white."""
    tiles = (pictures.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    height, width = tiles.shape[1] + gap, tiles.shape[2] + gap
    sheet = np.full((-(-len(tiles) // columns) * height, columns * width, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        sheet[row * height : row * height + height - gap, column * width : column * width + width - gap] = tile
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path)
    print(f"pictures: {path}")


if __name__ == "__main__":
    main()

"""Trains the network on pictures that are drawn once, looked at once and forgotten, so there is nothing to overfit.

    python -m training.shapes.train [--pictures 120000] [--seed 7] [--checkpoint build/shapes/checkpoint.pt]

Under fifteen minutes on two cores. The checkpoint holds what `export` needs: `state` (the weights), `seed`,
`pictures` (how many were seen), `seconds` and `accuracy` (share of fresh pictures that are named rightly, in [0, 1]).

After a while each picture is learnt a second time, changed a little in the direction in which its class is forgotten
the fastest. A network that must not be misled by such changes has gradients that people can read: without this the
pictures that excite a class the most are tangles of edges, with it most classes are plain to see.

References:
    Goodfellow et al., "Explaining and harnessing adversarial examples", https://arxiv.org/abs/1412.6572, 2014: the one
    step along the gradient. We normalize it to an L2 length, and let that length grow during training.
    Engstrom et al., "Adversarial robustness as a prior for learned representations", https://arxiv.org/abs/1906.00945,
    2019: why the gradients become readable.
"""

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.shapes.network import ShapesNetwork, preprocess
from training.shapes.pictures import CLASSES, draw_batch

CHECKPOINT = Path("build/shapes/checkpoint.pt")
EVALUATION_SEED = 1_000_003
"""Draws the pictures that measure accuracy; training never sees them."""

_PER_CLASS = 32  # pictures of each class that are drawn together, then shuffled
_BATCH = 96
_RATE = 0.06
_DECAY = 5e-4
_ROUGHNESS = 1e-3
_COLOUR_WEIGHT = 3  # squared in the penalty
_CALM = 0.35  # share of the training during which no picture is changed
_RADIUS = 16.0  # L2 length of the last and largest changes, after `preprocess`; a quarter of it in pixels of [0, 1]


def roughness(weight: Tensor) -> Tensor:
    """How much neighbouring weights of a convolution differ: the sum of squared differences, as one number.

    Batch normalization undoes the scale of a first-layer filter, so weight decay alone is slow to remove the noise that
    it was initialized with. This is weight decay that grows with spatial frequency. What the data asks for, fine
    stripes included, withstands it. Outside the kernel the weights count as zero, so filters also fade towards their
    border. Differences in colour count nine times: eyes too, and JPEG, keep most of the fine detail in lightness.

    Args:
        weight: (output channel, input channel, height, width), input channels being red, green and blue.
    """
    lightness = weight.mean(dim=1, keepdim=True)
    parts = torch.cat([lightness.expand_as(weight), _COLOUR_WEIGHT * (weight - lightness)])
    framed = F.pad(parts, (1, 1, 1, 1))
    return framed.diff(dim=-1).square().sum() + framed.diff(dim=-2).square().sum()


def drawn(generator: torch.Generator, per_class: int) -> tuple[Tensor, Tensor]:
    """Shuffled pictures of all classes, ready for the network, and their labels.

    Returns:
        Float32 (picture, 3, height, width) after `preprocess`, and int64 (picture,).
    """
    labels = torch.arange(len(CLASSES)).repeat(per_class)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    return preprocess(draw_batch(labels, generator)), labels


@torch.no_grad()
def accuracy(network: nn.Module, *, per_class: int, seed: int) -> float:
    """Share of freshly drawn pictures that the network names rightly, in [0, 1]; puts it in evaluation mode."""
    network.eval()
    generator = torch.Generator().manual_seed(seed)
    right = 0
    for _ in range(0, per_class, 10):
        pictures, labels = drawn(generator, 10)
        right += int((network(pictures).argmax(dim=1) == labels).sum())
    return right / (len(CLASSES) * 10 * len(range(0, per_class, 10)))


def misleading(network: nn.Module, pictures: Tensor, labels: Tensor, *, radius: float) -> Tensor:
    """Pictures, each changed by a step of length `radius` in the direction in which its loss grows the fastest.

    Args:
        network: The classifier; it is left in training mode.
        pictures: Float32 (picture, 3, height, width), after `preprocess`.
        labels: Int64 (picture,).
        radius: The L2 length of the change of each picture.
    """
    network.eval()  # the loss that the finished network would have; and the statistics stay those of real pictures
    start = pictures.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(network(start), labels, reduction="sum"), start)
    network.train()
    lengths = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None, None]
    changed: Tensor = pictures + radius * gradient / lengths
    return changed


def radius_at(progress: float) -> float:
    """The length of the changes when a share `progress` of the training is done; it grows along a line from zero."""
    return _RADIUS * max(0.0, (progress - _CALM) / (1 - _CALM))


def train(*, pictures: int, seed: int) -> ShapesNetwork:
    """A network trained on `pictures` fresh pictures; the rate of descent falls along a cosine to zero."""
    torch.manual_seed(seed)  # the layers' initial weights
    generator = torch.Generator().manual_seed(seed)
    network = ShapesNetwork(len(CLASSES)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=_RATE, momentum=0.9, nesterov=True, weight_decay=_DECAY)
    blocks = max(1, pictures // (_PER_CLASS * len(CLASSES)))
    batches = _PER_CLASS * len(CLASSES) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=_RATE, total_steps=blocks * batches, pct_start=0.05, cycle_momentum=False
    )
    for block in range(blocks):
        radius = radius_at(block / blocks)
        inputs, labels = drawn(generator, _PER_CLASS)
        total = 0.0
        for batch, answers in zip(torch.split(inputs, _BATCH), torch.split(labels, _BATCH), strict=True):
            seen = batch.contiguous(memory_format=torch.channels_last)
            if radius > 0:
                seen = torch.cat([seen, misleading(network, seen, answers, radius=radius)])
            loss = F.cross_entropy(network(seen), answers.repeat(len(seen) // len(answers)))
            total += loss.item()
            optimizer.zero_grad()
            torch.autograd.backward(loss + 0.5 * _ROUGHNESS * roughness(network.conv1.weight))
            optimizer.step()
            schedule.step()
        print(f"block {block + 1} of {blocks}: radius {radius:.1f}, loss {total / batches:.3f}", flush=True)
    return network.to(memory_format=torch.contiguous_format)


def main() -> None:
    """Trains, measures and writes the checkpoint."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pictures", type=int, default=120_000, help="how many pictures to train on")
    arguments.add_argument("--seed", type=int, default=7, help="seed of the weights and of the pictures")
    arguments.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="file to write")
    chosen = arguments.parse_args()

    began = time.monotonic()
    network = train(pictures=chosen.pictures, seed=chosen.seed)
    seconds = time.monotonic() - began
    share = accuracy(network, per_class=200, seed=EVALUATION_SEED)
    print(f"{seconds:.0f} seconds, accuracy {share:.4f}")
    chosen.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "state": network.state_dict(),
            "seed": chosen.seed,
            "pictures": chosen.pictures,
            "seconds": seconds,
            "accuracy": share,
        },
        chosen.checkpoint,
    )


if __name__ == "__main__":
    main()

"""What a library gives."""

from dataclasses import dataclass
from typing import Any

from torch import nn

RANDOM = "Random weights: it was never trained, and its pictures show nothing."
"""What the description of a model without trained weights ends in."""


@dataclass(frozen=True)
class LibraryModel:
    """A network of a library, in evaluation mode, and what the library says of it."""

    module: nn.Module
    size: tuple[int, int]
    """Height and width of the pictures that it was trained on, in pixels."""
    mean: tuple[float, ...]
    """Of each channel, RGB, for pictures in [0, 1]."""
    std: tuple[float, ...]
    labels: tuple[str, ...]
    """The names of its classes; empty where its weights are random or the library names none."""
    description: str
    source: str
    licence: str

    def manifest(self) -> dict[str, Any]:
        """Return the fields of manifest.yaml, as far as the library says anything."""
        texts = {"description": self.description, "source": self.source, "licence": self.licence}
        reads = {
            "size": list(self.size),
            "channel_order": "gray" if len(self.mean) == 1 else "rgb",
            "range": [0.0, 1.0],
            "mean": list(self.mean),
            "std": list(self.std),
        }
        # The file was made here, from code of a library that is installed here.
        return {**{key: text for key, text in texts.items() if text}, "trusted": True, "input": reads}

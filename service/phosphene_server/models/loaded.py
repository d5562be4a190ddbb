"""A model that is ready for use on a device."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.inputs import Reading
from phosphene_server.values.model import Model
from phosphene_server.values.work import ModelSource


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model whose parameters are on a device; equal to itself alone."""

    source: ModelSource
    """The file it was read from, and what its manifest says."""
    graph: ModelGraph
    """Its differentiable graph, on `device`."""
    model: Model
    """All that is told about it; `logits_layer` names the layer of the class logits, "" where there is none."""
    device: torch.device
    defaults: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    """What the inputs that are no picture get where a request does not say it, by name."""

    @property
    def reading(self) -> Reading:
        """How the inputs of the graph are filled."""
        return Reading(self.graph.inputs, self.graph.batching.picture, self.model.preprocessing, self.defaults)

    @property
    def dtype(self) -> torch.dtype:
        """The type of its trained tensors, and so of the pictures that it is shown; float32 where it has none."""
        return self.graph.dtype

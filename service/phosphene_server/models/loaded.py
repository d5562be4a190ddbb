"""A model that is ready for use on a device."""

from dataclasses import dataclass
from itertools import chain

import torch

from phosphene_server.models.graph import ModelGraph
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

    @property
    def dtype(self) -> torch.dtype:
        """The type of its trained tensors, and so of the pictures that it is shown; float32 where it has none."""
        # Lazily: this is read at every step, and nearly always the first tensor tells.
        tensors = chain(self.graph.module.parameters(), self.graph.module.buffers())
        return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)

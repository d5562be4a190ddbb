"""A model that is ready for use on a device."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.inputs import Reading
from phosphene_server.models.lowering import LoweredGraph, Lowerings
from phosphene_server.values.maximization import Precision
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

    def lowered(self, layers: Iterable[str], precision: Precision = "float32") -> LoweredGraph:
        """Return the graph from the inputs to the named layers in its fastest form, with gradients to the inputs alone.

        The same layers and precision give the same object again; it goes when this does.

        Args:
            layers: Names of layers.
            precision: `float32`: the model's own type; `bfloat16`: weights and activations in bfloat16.

        Raises:
            NotFound: no layer has one of the names.
        """
        return self._lowerings.get(layers, precision)

    @cached_property
    def _lowerings(self) -> Lowerings:
        return Lowerings(self.graph)

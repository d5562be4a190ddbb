"""What can be maximised.

One file for each objective, each with one factory: settings by keyword in, an `Objective` out. Objectives are
**maximised**; each is one number for each picture, `(batch,)`; reductions over space are means.
"""

from collections.abc import Callable, Mapping
from typing import Any

from phosphene_server.maximization.objectives.channel import channel
from phosphene_server.maximization.objectives.class_logit import class_logit
from phosphene_server.maximization.objectives.layer import layer
from phosphene_server.maximization.objectives.neuron import neuron
from phosphene_server.maximization.objectives.objective import Objective
from phosphene_server.maximization.objectives.weighted_sum import weighted_sum
from phosphene_server.values import maximization as values

__all__ = ["OBJECTIVES", "Objective", "channel", "class_logit", "layer", "make_objective", "neuron", "weighted_sum"]

OBJECTIVES: Mapping[str, Callable[[Any, str], Objective]] = {
    "channel": lambda value, _: channel(layer=value.layer, channel=value.channel),
    "neuron": lambda value, _: neuron(layer=value.layer, channel=value.channel, row=value.row, column=value.column),
    "layer": lambda value, _: layer(layer=value.layer),
    "class_logit": lambda value, logits_layer: class_logit(layer=logits_layer, index=value.index),
    "weighted_sum": lambda value, logits_layer: weighted_sum(
        terms=[(term.weight, make_objective(term.objective, logits_layer=logits_layer)) for term in value.terms]
    ),
}
"""The kind of a value, and how the objective is made of it and of the name of the layer of class logits."""


def make_objective(value: values.Objective, *, logits_layer: str) -> Objective:
    """Make the objective that a prepared request describes: positions and class indices are filled in."""
    return OBJECTIVES[value.kind](value, logits_layer)

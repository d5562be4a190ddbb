"""How the pictures of one request are computed: all that does not change from step to step."""

from collections.abc import Hashable
from dataclasses import dataclass

import torch

from phosphene_server.maximization.objectives import Objective, make_objective
from phosphene_server.maximization.optimizers import Optimizer, make_optimizer
from phosphene_server.maximization.parameterizations import Parameterization, make_parameterization
from phosphene_server.maximization.penalties import Penalty, make_penalty
from phosphene_server.maximization.transforms import Chain, View, make_chain
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values.maximization import MaximizeActivationRequest


@dataclass(frozen=True, eq=False)
class Recipe:
    """The parts of a request, made."""

    parameterization: Parameterization
    chain: Chain
    view: View
    """How the network is shown the pictures."""
    penalties: tuple[Penalty, ...]
    weights: tuple[float, ...]
    """Of the penalties."""
    optimizer: Optimizer
    objective: Objective

    @property
    def coupled(self) -> bool:
        """Whether the pictures of the job look at one another."""
        return self.objective.key is None or any(penalty.key is None for penalty in self.penalties)

    @property
    def section_key(self) -> Hashable:
        """Pictures with equal keys are decoded, shown, penalized and moved together."""
        penalties = tuple(self if penalty.key is None else penalty.key for penalty in self.penalties)
        photometric = tuple(transform.key for transform in self.chain.photometric)
        return self.parameterization.key, self.view, photometric, penalties, self.optimizer.key

    @property
    def objective_key(self) -> Hashable:
        """Pictures with equal keys have their objective evaluated together."""
        return self if self.objective.key is None else self.objective.key


def make_recipe(model: LoadedModel, request: MaximizeActivationRequest) -> Recipe:
    """Make the parts of a request that `prepare` has completed."""
    assert request.size is not None
    chain = make_chain(request.transforms)
    penalties = [term for term in request.penalties if term.weight > 0]
    return Recipe(
        parameterization=make_parameterization(
            request.parameterization,
            size=request.size,
            dtype=torch.promote_types(model.dtype, torch.float32),
            device=model.device,
        ),
        chain=chain,
        view=chain.view(request.size),
        penalties=tuple(make_penalty(term.penalty) for term in penalties),
        weights=tuple(term.weight for term in penalties),
        optimizer=make_optimizer(request.optimizer),
        objective=make_objective(request.objective, logits_layer=model.model.logits_layer),
    )

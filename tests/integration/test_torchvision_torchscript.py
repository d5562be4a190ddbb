"""Whole networks of torchvision, traced and scripted, against eager PyTorch in float64.

Weights are random but fixed; what torchvision initializes to zero, or to numbers that hide mistakes, is made random, so
that no layer is compared with nothing. Pictures are small: the graph is the same.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision.models as torchvision_models
from torch import nn

from phosphene_server.models.importers.torchscript import import_torchscript
from tests.unit.models.importers.eager_networks import assert_equals_eager, eager_activations

pytestmark = [
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:The default weight initialization"),
    pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level annotations"),
]

VISION_TRANSFORMER = {
    "image_size": 64,
    "patch_size": 16,
    "num_layers": 3,
    "num_heads": 4,
    "hidden_dim": 64,
    "mlp_dim": 96,
}
"""vit_b_16 has the same code with 12 layers of 768 features, at 224 pixels."""

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "alexnet": (torchvision_models.alexnet, 64),
    "googlenet": (lambda: torchvision_models.googlenet(init_weights=False, aux_logits=False), 64),
    "googlenet_with_auxiliary_heads": (lambda: torchvision_models.googlenet(init_weights=False), 64),
    "resnet18": (torchvision_models.resnet18, 64),
    "densenet121": (torchvision_models.densenet121, 64),
    "inception_v3": (lambda: torchvision_models.inception_v3(init_weights=False, aux_logits=False), 96),
    "inception_v3_with_auxiliary_head": (lambda: torchvision_models.inception_v3(init_weights=False), 96),
    "mobilenet_v3_small": (torchvision_models.mobilenet_v3_small, 64),
    "vision_transformer": (lambda: torchvision_models.VisionTransformer(**VISION_TRANSFORMER), 64),
    "swin_t": (torchvision_models.swin_t, 64),
    "convnext_tiny": (torchvision_models.convnext_tiny, 64),
}
"""Constructors, and the picture size in pixels."""


def randomized(make: Callable[[], nn.Module]) -> nn.Module:
    """Build a network for inference in which no weight is constant, nearly zero or trivially normalizing."""
    torch.manual_seed(0)
    network = make().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.numel() > 1 and (float(parameter.std()) == 0 or float(parameter.abs().max()) < 1e-4):
                parameter.add_(torch.randn_like(parameter) * 0.1)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean = torch.randn(module.num_features) * 0.1
                module.running_var = torch.rand(module.num_features) + 0.5
    return network


@pytest.fixture(scope="module", params=NETWORKS)
def network_and_size(request: pytest.FixtureRequest) -> tuple[nn.Module, int]:
    make, size = NETWORKS[request.param]
    return randomized(make), size


@pytest.mark.parametrize("how", ["traced", "scripted"])
def test_every_layer_and_the_gradient_equal_eager_at_any_batch(
    tmp_path: Path, network_and_size: tuple[nn.Module, int], how: str
) -> None:
    network, size = network_and_size
    network = network.float()
    if how == "traced":
        with torch.no_grad():  # as people export; attention is then recorded in the form that has no derivative
            module = torch.jit.trace(network, torch.randn(2, 3, size, size), check_trace=False)
    else:
        module = torch.jit.script(network)
    module.save(str(tmp_path / "model.pt"))
    graph = import_torchscript(tmp_path / "model.pt", name="network")
    generator = torch.Generator().manual_seed(1)
    assert set(graph.layers) == set(eager_activations(network, torch.randn(1, 3, size, size))) - {""}
    for batch in (1, 3):
        assert_equals_eager(graph, network, torch.randn(batch, 3, size, size, generator=generator))


@pytest.mark.parametrize("size", [48, 96])
def test_a_scripted_swin_takes_other_sizes_with_their_own_shifts_and_masks(tmp_path: Path, size: int) -> None:
    """At 48 pixels fewer of its windows are shifted than at 96: branches that the graph takes when it runs."""
    network = randomized(lambda: torchvision_models.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [7, 7]))
    torch.jit.script(network).save(str(tmp_path / "model.pt"))
    graph = import_torchscript(tmp_path / "model.pt", name="swin", size=(64, 64))
    assert_equals_eager(graph, network, torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)))

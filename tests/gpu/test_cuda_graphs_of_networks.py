"""Lowered graphs on a GPU, beside the same on the CPU."""

import pytest
import torch
from torch import Tensor

from phosphene_server.models.loaded import LoadedModel
from tests.gpu.conftest import LAYER

pytestmark = pytest.mark.gpu


def pictures() -> Tensor:
    return torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def activation_and_gradient(model: LoadedModel, precision: str = "float32") -> tuple[Tensor, Tensor]:
    """Return a layer's activation and the gradient of its channels' squares at random pictures, on the CPU, float64."""
    seen = pictures().to(model.device, memory_format=torch.channels_last).requires_grad_()
    activation = model.lowered([LAYER], precision)(seen)[LAYER]
    (gradient,) = torch.autograd.grad(activation.float().square().mean(), seen)
    return activation.detach().cpu().double(), gradient.cpu().double()


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_a_network_computes_on_cuda_what_it_computes_on_the_cpu(model: LoadedModel, host_model: LoadedModel) -> None:
    found, expected = activation_and_gradient(model), activation_and_gradient(host_model)
    assert distance(found[0], expected[0]) < 5e-3  # TF32 keeps 10 bits of each factor
    assert distance(found[1], expected[1]) < 2e-2


def test_the_gradient_in_bfloat16_points_where_that_in_float32_does(model: LoadedModel) -> None:
    (_, exact), (_, rounded) = activation_and_gradient(model), activation_and_gradient(model, "bfloat16")
    cosine = torch.nn.functional.cosine_similarity(rounded.flatten(1), exact.flatten(1))
    assert float(cosine.min()) > 0.97


def test_gradients_are_the_same_bytes_again(model: LoadedModel) -> None:
    first, second = activation_and_gradient(model), activation_and_gradient(model)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])

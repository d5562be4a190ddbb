"""Writes to tensors and to views of them against eager PyTorch: in the graph, nothing is ever overwritten."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.torchscript import import_torchscript
from tests.unit.models.importers.eager_networks import Wrapped, input_gradient

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")


def assigned(x: Tensor) -> Tensor:
    y = x * 1
    y[:, 0] = 0
    y[:, 1:3] = x[:, :2]
    y[..., 0] += 1
    y[:, :, 1:3, 1:3] = 2.0
    y[0] = x[1]
    return y


def assigned_by_index(x: Tensor) -> Tensor:
    y = x * 1
    y[y > 0.5] = 0.25
    y[:, torch.tensor([0, 2])] = x[:, 1:3]
    y.index_put_((torch.tensor([0, 1]), torch.tensor([1, 2])), x[0, 0])
    return y


def filled_from_nothing(x: Tensor) -> Tensor:
    y = torch.zeros(x.shape, dtype=x.dtype)
    y[:, :2] = x[:, 2:]
    z = y[:, 1]
    z *= 2
    z.add_(x[:, 0])
    return y


def chunks(x: Tensor) -> Tensor:
    y = x * 1
    first, second = y.chunk(2, 1)
    first.mul_(2)
    second.copy_(first + 1)
    y.add_(1)
    return torch.cat([first, second, y], 1)


def pieces(x: Tensor) -> Tensor:
    y = x * 1
    first, second = y.split([1, 3], 1)
    second[:, 1] = 7.0
    first.sub_(1)
    return y * first


def unbound(x: Tensor) -> Tensor:
    y = x * 1
    first, second, _, last = y.unbind(1)
    second.zero_()
    last.add_(first)
    y.mul_(2)
    return y + second.unsqueeze(1)


def narrowed(x: Tensor) -> Tensor:
    y = x * 1
    part = y.narrow(1, 1, 2)
    part.mul_(3)
    y.transpose(1, 2)[:, 0] = 1.0
    y.diagonal(dim1=2, dim2=3).add_(2.0)
    return y + part.mean()


def reshaped(x: Tensor) -> Tensor:
    y = x * 1
    y.permute(0, 2, 3, 1).unsqueeze(1).squeeze(1).mul_(2)
    y.flatten(2)[:, 0].add_(1)
    y.movedim(1, 3)[..., 0] = 3
    torch.swapaxes(y, 2, 3)[:, :, 0] = 4
    y.expand(y.shape).sub_(0.5)
    return y


def a_part_of_a_part(x: Tensor) -> Tensor:
    y = x * 1
    whole = y.view(x.shape[0], 2, 2, x.shape[2], x.shape[3])
    part = whole[:, 1]
    corner = part[:, :, :2, :2]
    corner.mul_(5)
    y.add_(1)
    part.neg_()
    return y + corner.sum()


def detached(x: Tensor) -> Tensor:
    y = x * 2
    y.detach().add_(1)
    return y * x


def activations(x: Tensor) -> Tensor:
    y = x * 1
    F.relu(y, inplace=True)
    y.tanh_().add_(x).clamp_(-2, 2).unsqueeze_(1).squeeze_(1)
    F.hardswish(y, inplace=True)
    return y.masked_fill_(x > 0.5, 1.0).addcmul_(x, x).lerp_(x, 0.5)


def whole_numbers(x: Tensor) -> Tensor:
    places = x.argmax(1)
    places.mul_(3).add_(1)
    places.div_(2, rounding_mode="floor")
    return x * places.unsqueeze(1)


def copied(x: Tensor) -> Tensor:
    y = x * 1
    z = y.clone()
    z.mul_(3)
    w = y.contiguous()
    w.add_(1)
    return y + z


WRITES: list[Callable[[Tensor], Tensor]] = [
    *(assigned, assigned_by_index, filled_from_nothing, chunks, pieces, unbound, narrowed, reshaped),
    *(a_part_of_a_part, detached, activations, whole_numbers, copied),
]


def by_difference(function: Callable[[Tensor], Tensor], picture: Tensor) -> Tensor:
    """Return the gradient by finite differences; eager PyTorch refuses to differentiate writes to several views."""
    gradient = torch.zeros_like(picture)
    for index in range(0, picture.numel(), 7):
        change = torch.zeros_like(picture)
        change.view(-1)[index] = 1e-6
        difference = function(picture + change).sin().sum() - function(picture - change).sin().sum()
        gradient.view(-1)[index] = difference / 2e-6
    return gradient


@pytest.mark.parametrize("how", ["traced", "scripted"])
@pytest.mark.parametrize("function", WRITES, ids=lambda each: each.__name__)
def test_writes_equal_eager_in_value_and_gradient(tmp_path: Path, function: Callable[..., Tensor], how: str) -> None:
    torch.manual_seed(0)
    picture = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    if how == "traced":
        with torch.no_grad():
            module = torch.jit.trace(Wrapped(function), torch.randn(2, 4, 6, 6), check_trace=False)
        module.save(str(tmp_path / "model.pt"))
    else:
        torch.jit.script(function).save(str(tmp_path / "model.pt"))
    graph = import_torchscript(tmp_path / "model.pt", name="small", size=(6, 6)).to(dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(graph(picture)[0], function(picture), rtol=1e-9, atol=1e-12)
        if function is not detached:  # whose gradient is by intention not that of the function
            expected = by_difference(function, picture)
    gradient = input_gradient(lambda x: graph(x)[0], picture)
    if function is detached:
        expected = input_gradient(function, picture)
        torch.testing.assert_close(gradient, expected)
    else:
        sampled = expected.view(-1)[::7]
        torch.testing.assert_close(gradient.view(-1)[::7], sampled, rtol=1e-5, atol=1e-5)


def test_a_whole_that_was_overwritten_through_an_overlapping_view_is_refused(tmp_path: Path) -> None:
    def windows(x: Tensor) -> Tensor:
        y = x * 1
        y.unfold(2, 2, 2).mul_(2)
        return y

    torch.jit.trace(Wrapped(windows), torch.randn(2, 4, 6, 6)).save(str(tmp_path / "model.pt"))
    with pytest.raises(UnsupportedModel, match="unfold"):
        import_torchscript(tmp_path / "model.pt", name="small")

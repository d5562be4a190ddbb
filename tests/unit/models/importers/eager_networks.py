"""Small networks with what importers find hard, and what eager PyTorch says about them: the oracle of these tests."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from phosphene_server.models.graph import ModelGraph


class Block(nn.Module):
    """A residual block with one ReLU that is called twice and overwrites its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.relu(self.bn1(self.conv1(x))))
        out += x
        return self.relu(out)


class Branching(nn.Module):
    """Stem, two calls of one block, two joined branches, dropout and a classifier: any batch and picture size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.block = Block(8)
        self.left = nn.Conv2d(8, 4, 1)
        self.right = nn.Sequential(nn.Conv2d(8, 4, (3, 1), padding=(1, 0), dilation=1), nn.Hardswish())
        self.dropout = nn.Dropout(0.5)
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(self.block(self.stem(x)))
        x = torch.cat([self.left(x), self.right(x)], 1)
        x = torch.flatten(self.pool(self.dropout(x)), 1)
        return self.fc(x)


class Overwriting(nn.Module):
    """Writes through views: what it returns depends on every one of the writes."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        y[:, 0] = 0.5
        z = y.view(x.shape[0], x.shape[1], -1)
        z[:, 1:2].mul_(3.0)
        y.add_(1.0)
        return torch.cat([z.flatten(1), y.flatten(1)], 1)


class Wrapped(nn.Module):
    """Does what a function does."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: Tensor) -> Tensor:
        return self._function(x)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """Build a network with weights that are always the same and statistics that are not trivial, for inference."""
    torch.manual_seed(0)
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5
    return network.eval()


def eager_activations(network: nn.Module, picture: Tensor) -> dict[str, Tensor]:
    """Return every module's value when it was computed, `name@1` for a second call; the network's own is ""."""
    found: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def keep(name: str, value: object) -> None:
        count = calls.get(name, 0)
        calls[name] = count + 1
        value = value[0] if isinstance(value, tuple) else value
        if isinstance(value, Tensor):
            found[f"{name}@{count}" if count else name] = value.detach().clone()

    handles = [
        module.register_forward_hook(lambda _module, _inputs, value, name=name: keep(name, value))
        for name, module in network.named_modules()
    ]
    with torch.no_grad():
        network(picture)
    for handle in handles:
        handle.remove()
    return found


def input_gradient(function: Callable[[Tensor], Tensor], picture: Tensor) -> Tensor:
    """Return the gradient of a number that every output has a part in."""
    picture = picture.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(picture).sin().sum(), picture)
    return gradient


def assert_equals_eager(graph: ModelGraph, network: nn.Module, picture: Tensor) -> None:
    """Compare outputs, every named activation and the input gradient in float64, to 1e-6."""
    graph.to(dtype=torch.float64)
    network = network.double()
    picture = picture.double()
    expected = eager_activations(network, picture)
    expected.setdefault(graph.outputs[0].name, expected[""])  # an output that no module returned has a row of its own
    has_modules = len(list(network.modules())) > 1  # otherwise the layers are the operations
    with torch.no_grad():
        found = graph.cut([name for name in graph.layers if has_modules or name in expected])(picture)
        torch.testing.assert_close(graph(picture)[0], expected.pop(""), rtol=1e-6, atol=1e-9)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}")
    gradient = input_gradient(lambda x: graph(x)[0], picture)
    scale = float(gradient.abs().max())
    torch.testing.assert_close(gradient, input_gradient(network, picture), rtol=1e-6, atol=1e-6 * scale)

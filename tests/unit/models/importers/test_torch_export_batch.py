"""Files that were exported at one batch size and are used at another."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.torch_export import import_torch_export
from tests.unit.models.importers.eager_networks import assert_equals_eager, seeded


class Shuffle(nn.Module):
    """ShuffleNet's exchange of channels between groups."""

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        return x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)


class Windows(nn.Module):
    """Swin's windows: the samples become many, are compared within a window under a mask, and are joined again."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bias", torch.randn(4, 1, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        parts = x.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 3, 5, 1)
        windows = parts.reshape(-1, 4, channels)
        scores = windows @ windows.transpose(1, 2)
        scores = scores.view(batch, -1, 1, 4, 4) + self.bias.repeat(height * width // 16, 1, 1, 1)
        mixed = scores.view(-1, 4, 4).softmax(-1) @ windows
        return mixed.view(batch, height // 2, width // 2, 2, 2, channels).permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


class Tokens(nn.Module):
    """A vision transformer's class token, positions and attention, whose samples stand on the second axis."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.positions = nn.Parameter(torch.randn(1, 17, 8))
        self.attention = nn.MultiheadAttention(8, 2)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], 1) + self.positions
        tokens = self.norm(tokens).transpose(0, 1)
        return self.attention(tokens, tokens, tokens, need_weights=False)[0][0]


class Network(nn.Module):
    def __init__(self, inner: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, stride=2)
        self.inner = inner()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.stem(x)).relu()


class Joined(nn.Module):
    """Compares the pictures of a batch with one another: what it says of one depends on how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2 * 3 * 16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.reshape(-1))


def imported(network: nn.Module, folder: Path, *, batch: int) -> ModelGraph:
    with torch.no_grad():
        torch.export.save(torch.export.export(network, (torch.randn(batch, 3, 8, 8),)), folder / "model.pt2")
    return import_torch_export(folder / "model.pt2", name="fixed")


@pytest.mark.parametrize("inner", [Shuffle, Windows, Tokens])
@pytest.mark.parametrize("batch", [1, 2])
def test_any_batch_equals_eager(tmp_path: Path, inner: Callable[[], nn.Module], batch: int) -> None:
    network = seeded(lambda: Network(inner))
    graph = imported(network, tmp_path, batch=batch)
    graph.layers = {name: row for name, row in graph.layers.items() if name != "inner.attention"}  # which gives a tuple
    assert graph.inputs[0].shape[0] == -1
    assert graph.outputs[0].shape[0] == -1
    for count in (1, 3):
        picture = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))
        assert_equals_eager(graph, network, picture)


def test_decomposed_programs_are_freed_too(tmp_path: Path) -> None:
    network = seeded(lambda: Network(Tokens))
    with torch.no_grad():
        program = torch.export.export(network, (torch.randn(1, 3, 8, 8),)).run_decompositions()
    torch.export.save(program, tmp_path / "model.pt2")
    graph = import_torch_export(tmp_path / "model.pt2", name="decomposed").to(dtype=torch.float64)
    picture = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(graph(picture)[0], network.double()(picture), rtol=1e-6, atol=1e-9)


def test_a_batch_that_is_part_of_the_network_stays(tmp_path: Path) -> None:
    class Reading(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.joined = Joined()

        def forward(self, x: Tensor) -> Tensor:
            return self.joined(x[..., ::2, ::2])

    network = seeded(Reading)
    graph = imported(network, tmp_path, batch=2)
    assert graph.inputs[0].shape == (2, 3, 8, 8)
    picture = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(graph(picture)[0], network(picture))


def test_samples_that_change_places_are_noticed(tmp_path: Path) -> None:
    class Swapping(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(2, 3, 64).flip(0).reshape(2, 3, 8, 8) + x

    graph = imported(Swapping(), tmp_path, batch=2)
    assert graph.inputs[0].shape[0] == 2
    picture = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(graph(picture)[0], Swapping()(picture))

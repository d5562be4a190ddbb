"""Scripted control flow against eager PyTorch: what is decided at import, what when the graph runs, what is refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene_server.errors import InvalidArgument, UnsupportedModel
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.torchscript import import_torchscript
from tests.unit.models.importers.eager_networks import input_gradient, seeded


def scripted(network: nn.Module, folder: Path, size: tuple[int, int] | None = (8, 8)) -> ModelGraph:
    path = folder / "model.pt"
    torch.jit.script(network.eval()).save(str(path))
    return import_torchscript(path, name="small", size=size).to(dtype=torch.float64)


def assert_like_eager(graph: ModelGraph, network: nn.Module, pictures: Sequence[Tensor]) -> None:
    """Compare value and gradient for every picture, twice: an evaluation leaves nothing behind for the next one."""
    network = network.double()
    for picture in [*pictures, *pictures]:
        torch.testing.assert_close(graph(picture)[0], network(picture.clone()), rtol=1e-9, atol=1e-12)
        expected = input_gradient(lambda x: network(x.clone()), picture)
        torch.testing.assert_close(input_gradient(lambda x: graph(x)[0], picture), expected, rtol=1e-9, atol=1e-12)


def pictures(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]


BRIGHT_AND_DARK = [torch.ones(2, 3, 8, 8).double() * 0.5, -torch.ones(2, 3, 8, 8).double(), *pictures((1, 3, 6, 9))]


class Bright(nn.Module):
    """Takes another way for bright pictures, with weights in one of the branches and a branch inside of a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 0:
            y = self.conv(x).tanh()
            factor = 2.0
            if x.max() > 0.75:
                y = y * 3
        else:
            y = x * x
            factor = 3.0
        return y * factor


class Overwriting(nn.Module):
    """Branches that overwrite tensors, a list and an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        part = y[:, 1:]
        found = [x, y]
        if x.sum() > 0:
            part.mul_(0.5)
            found[0] = x.exp()
            self.scale = 5.0
        else:
            y.add_(1.0)
            found[1] = x.sin()
            self.scale = 7.0
        return (found[0] + found[1] + y) * self.scale + part.mean()


class Passing(nn.Module):
    """One branch hands on what it was given."""

    def forward(self, x: Tensor) -> Tensor:
        y = x.sin()
        z = y
        if float(x.mean().detach()) > 0.0:
            z = y * 2
        return z * x


class Early(nn.Module):
    """Returns early, which the compiler turns into flags."""

    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 0:
            return x * 2
        y = x.cos()
        if x.min() < -2:
            return y
        return y + x


class Chosen(nn.Module):
    """Numbers that a branch chooses, among them one that is a part of a shape."""

    def forward(self, x: Tensor) -> Tensor:
        n = 1
        if bool((x > 0).any()):
            n = 2
        return x.repeat(1, n, 1, 1).sum(1) * n


class Padding(nn.Module):
    """A branch on the size of the input, in which a list changes, as a Swin transformer has."""

    def forward(self, x: Tensor) -> Tensor:
        shift = [1, 2]
        if x.shape[2] <= 6:
            shift[0] = 0
        if sum(shift) > 2:
            x = torch.roll(x, shifts=(-shift[0], -shift[1]), dims=(2, 3))
            x = x * 2
        return x * (x.shape[3] + shift[0])


@pytest.mark.parametrize("make", [Bright, Overwriting, Passing, Early, Chosen, Padding])
def test_both_ways_of_a_branch_equal_eager(tmp_path: Path, make: type[nn.Module]) -> None:
    network = seeded(make)
    assert_like_eager(scripted(network, tmp_path), network, BRIGHT_AND_DARK)


def test_the_branch_that_is_not_taken_is_not_evaluated(tmp_path: Path) -> None:
    class Guarded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(2, -1) if x.sum() > 0 else x.reshape(3, -1)

    graph = scripted(Guarded(), tmp_path)
    assert graph(torch.ones(2, 3, 5, 5).double())[0].shape == (2, 75)
    assert graph(-torch.ones(3, 3, 5, 5).double())[0].shape == (3, 75)


def test_a_layer_behind_a_branch_can_be_cut(tmp_path: Path) -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bright = Bright()
            self.last = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.bright(x)).mean()

    network = seeded(Deep)
    graph = scripted(network, tmp_path)
    network = network.double()
    for picture in BRIGHT_AND_DARK:
        found = graph.cut(["last", "bright"])(picture)
        torch.testing.assert_close(found["bright"], network.bright(picture))
        torch.testing.assert_close(found["last"], network.last(network.bright(picture)))


class LayersBySize(nn.Module):
    """Has layers in a branch on the size: they keep their names, so the branch is that of the example."""

    def __init__(self) -> None:
        super().__init__()
        self.small = nn.Conv2d(3, 4, 1)
        self.large = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.large(x) if x.shape[2] > 16 else self.small(x)


@pytest.mark.parametrize(("size", "layer"), [(8, "small"), (32, "large")])
def test_a_branch_with_layers_is_decided_by_the_size_and_checked(tmp_path: Path, size: int, layer: str) -> None:
    network = seeded(LayersBySize)
    graph = scripted(network, tmp_path, (size, size))
    assert layer in graph.layers
    assert_like_eager(graph, network, pictures((2, 3, size, size)))
    with pytest.raises(InvalidArgument, match="branch"):
        graph(torch.randn(1, 3, 40 - size, 8).double())


class Rows(nn.Module):
    """A loop over the rows of a picture, which collects them, and one that ends when it has seen enough."""

    def forward(self, x: Tensor) -> Tensor:
        rows: list[Tensor] = []
        for row in range(x.shape[2]):
            rows.append(x[:, :, row] * row)
        stacked = torch.stack(rows, 2)
        side = x.shape[3]
        while side > 2:
            stacked = stacked.sin()
            side = side // 2
        return stacked


def test_a_loop_over_a_size_is_unrolled_and_checked(tmp_path: Path) -> None:
    graph = scripted(Rows(), tmp_path)
    assert_like_eager(graph, Rows(), pictures((1, 3, 8, 8), (3, 3, 8, 9)))
    for shape in [(1, 3, 9, 8), (1, 3, 8, 32)]:
        with pytest.raises(InvalidArgument, match="branch"):
            graph(torch.randn(shape).double())


class Bounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[2] == 48, "the picture must have 48 rows"
        return x.mean((2, 3))


def test_the_size_that_an_assertion_allows_is_found(tmp_path: Path) -> None:
    assert_like_eager(scripted(Bounded(), tmp_path, (48, 48)), Bounded(), pictures((2, 3, 48, 40)))


class Endless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        while bool(x.sum() > 1):
            x = x * 0.5
        return x


class Growing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        if x.sum() > 0:
            found.append(x * 2)
        return torch.cat(found)


class Sometimes(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor | None = None
        if x.sum() > 0:
            y = x
        if y is not None:
            x = x + y
        return x


class Ambiguous(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        z = y * 3
        if x.sum() > 0:
            z = y
        z.add_(1.0)
        return y + z


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (Endless(), "loop"),
        (Growing(), "different numbers of things"),
        (Sometimes(), "a tensor"),
        (Ambiguous(), "a branch"),
    ],
)
def test_what_the_graph_cannot_say_is_refused_with_its_place(tmp_path: Path, network: nn.Module, reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=reason) as caught:
        scripted(network, tmp_path)
    assert "forward" in caught.value.detail


class Counting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        total = 0
        for index in range(1_000_000_000):
            total += index % 7
        return x * total


def test_a_loop_that_would_take_minutes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phosphene_server.models.importers.torchscript.importer.MAXIMUM_SECONDS", 1.0)
    with pytest.raises(UnsupportedModel, match="too long"):
        scripted(Counting(), tmp_path)


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        many = [1]
        for _ in range(60):
            many = many + many
        return x * len(many)


def test_lists_stay_small(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="more than"):
        scripted(Doubling(), tmp_path)


class Huge(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (x.shape[2] ** 1_000_000_000 % 7)


def test_numbers_stay_small(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too large"):
        scripted(Huge(), tmp_path)(torch.randn(1, 3, 8, 8).double())


class Interpolating(nn.Module):
    """`F.interpolate` as scripting writes it: with all its questions about what it was given."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        z = F.interpolate(y, size=[x.shape[2], x.shape[3]], mode="nearest")
        return F.interpolate(z, scale_factor=0.5, mode="bicubic", align_corners=False, antialias=True)


def test_scripted_library_functions_are_followed(tmp_path: Path) -> None:
    network = Interpolating()
    assert_like_eager(scripted(network, tmp_path), network, pictures((1, 3, 8, 8), (2, 3, 6, 10)))

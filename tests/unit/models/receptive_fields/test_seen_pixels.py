"""The receptive field that is told is the one that a gradient shows, at every position of small networks."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
import torchvision
from seen_pixels import check_every_position, clipped, open_wide, random_picture, seen_rows_and_columns, told
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

from phosphene_server.models.receptive_fields import describe
from phosphene_server.values.image import ImageSize


class Applied(nn.Module):
    """A convolution, and an operation on what it computes."""

    def __init__(self, operation, *, channels=4, behind=None) -> None:
        super().__init__()
        self.operation = operation
        self.conv = nn.Conv2d(3, channels, 3, padding=1)
        self.behind = behind or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(self.operation(self.conv(x)))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.shortcut = nn.Conv2d(3, 4, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.norm(self.conv1(x)))) + self.shortcut(x))


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(3, 2, (1, 3), padding=(0, 1))
        self.wide = nn.Conv2d(3, 2, 5, padding=2)
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(3, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.narrow(x), self.wide(x), self.pooled(x)], 1)
        return joined[:, 1:4] + torch.chunk(joined, 2, 1)[1]


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Conv2d(3 + 2 * stage, 2, 3, padding=1) for stage in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = torch.cat([x, stage(x)], 1)
        return F.avg_pool2d(x, 2)


WINDOWS = {
    "strided": nn.Sequential(
        nn.Conv2d(3, 4, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2, padding=1)
    ),
    "unpadded": nn.Sequential(nn.Conv2d(3, 4, 4), nn.MaxPool2d(3, 2), nn.Conv2d(4, 4, (3, 1))),
    "dilated": nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 2, dilation=(1, 2))),
    "padded on one side": nn.Sequential(nn.ZeroPad2d((2, 0, 0, 3)), nn.Conv2d(3, 4, 3, stride=2), nn.Conv2d(4, 4, 2)),
    "cropped": Applied(lambda y: F.pad(y, (-2, 1, -3, 0)), behind=nn.Conv2d(4, 4, 3)),
    "padded by same": nn.Sequential(nn.Conv2d(3, 4, (3, 5), padding="same", dilation=2), nn.Conv2d(4, 4, 3, stride=3)),
    "pool rounded up": nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(3, 4, 3, padding=1)),
    "grouped and normalized": nn.Sequential(
        nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.PReLU(), nn.Hardswish()
    ),
    "adaptive pool": nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d((7, 4))),
    "residual": Residual(),
    "branches": Branches(),
    "dense": Dense(),
    "sliced": Applied(lambda y: y[:, :, 3:-2, 1::2], behind=nn.Conv2d(4, 4, 3, stride=2)),
    "reversed": Applied(lambda y: y.flip(2), behind=nn.Conv2d(4, 4, 4, stride=2)),
    "patches merged": Applied(
        lambda y: torch.cat([y[:, :, 0::2, 0::2], y[:, :, 1::2, 0::2]], 1), behind=nn.Conv2d(8, 4, 3, padding=1)
    ),
    "space to depth": Applied(lambda y: F.pixel_unshuffle(y, 2), behind=nn.Conv2d(16, 4, 3, padding=1)),
    "space to depth by reshapes": Applied(
        lambda y: y.reshape(1, 4, 12, 2, 10, 2).permute(0, 3, 5, 1, 2, 4).reshape(1, 16, 12, 10),
        behind=nn.Conv2d(16, 2, 3),
    ),
    "average of windows": Applied(lambda y: y.reshape(1, 4, 6, 4, 5, 4).mean((3, 5)), behind=nn.Conv2d(4, 2, 3)),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_see_what_a_gradient_reaches(name):
    check_every_position(WINDOWS[name])


FINER = {
    "transposed": nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1)
    ),
    "transposed, odd": nn.Sequential(nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1)),
    "transposed, sparse": nn.Sequential(nn.ConvTranspose2d(3, 4, 5, stride=3), nn.Conv2d(4, 4, 3, stride=2)),
    "transposed, dilated": nn.Sequential(nn.ConvTranspose2d(3, 4, 3, stride=2, dilation=2, padding=1)),
    "nearest": Applied(lambda y: F.interpolate(y, scale_factor=2), behind=nn.Conv2d(4, 4, 3)),
    "nearest, uneven": Applied(lambda y: F.interpolate(y, size=(36, 25)), behind=nn.Conv2d(4, 4, 2)),
    "bilinear": Applied(lambda y: F.interpolate(y, scale_factor=2.0, mode="bilinear"), behind=nn.Conv2d(4, 4, 3, 2)),
    "bilinear, corners": Applied(lambda y: F.interpolate(y, size=(47, 39), mode="bilinear", align_corners=True)),
    "bilinear, smaller": Applied(lambda y: F.interpolate(y, size=(9, 15), mode="bilinear", antialias=True)),
    "depth to space": Applied(lambda y: F.pixel_shuffle(y, 2), behind=nn.Conv2d(1, 4, 3)),
    "depth to space by reshapes": Applied(
        lambda y: y.reshape(1, 2, 2, 1, 24, 20).permute(0, 3, 4, 1, 5, 2).reshape(1, 1, 48, 40),
        behind=nn.Conv2d(1, 4, 3),
    ),
}


@pytest.mark.parametrize("name", FINER)
def test_finer_grids_see_what_a_gradient_reaches(name):
    check_every_position(FINER[name])


class Windowed(nn.Module):
    """Attention within windows of 4 by 4, moved by `shift` positions first, as in a Swin transformer."""

    def __init__(self, *, shift: int, fused: bool) -> None:
        super().__init__()
        self.shift, self.fused = shift, fused
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.project = nn.Linear(8, 24)
        self.mix = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        seen = torch.roll(self.norm(x), (-self.shift, -self.shift), (1, 2)) if self.shift else self.norm(x)
        windows = seen.reshape(1, 4, 4, 3, 4, 8).permute(0, 1, 3, 2, 4, 5).reshape(12, 16, 8)
        query, key, value = self.project(windows).reshape(12, 16, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = self.mix(self._attend(query, key, value).transpose(1, 2).reshape(12, 16, 8))
        mixed = mixed.reshape(1, 4, 3, 4, 4, 8).permute(0, 1, 3, 2, 4, 5).reshape(1, 16, 12, 8)
        return x + (torch.roll(mixed, (self.shift, self.shift), (1, 2)) if self.shift else mixed)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if self.fused:
            return F.scaled_dot_product_attention(query, key, value)
        return torch.matmul(torch.softmax(torch.matmul(query * 0.5, key.transpose(-2, -1)), -1), value)


@pytest.mark.parametrize("fused", [False, True])
def test_attention_in_windows_sees_its_window(fused):
    network = Windowed(shift=0, fused=fused)
    sight = check_every_position(network, size=(16, 12), turned=lambda value: value.permute(0, 3, 1, 2))
    assert describe(sight, ImageSize(16, 12)).grid is not None
    assert (sight.reaches["row"].size, sight.reaches["row"].period) == (6, 4)


def test_windows_that_move_see_across_the_border_of_the_windows_before():
    network = open_wide(Windowed(shift=2, fused=False))
    picture = random_picture(16, 12).requires_grad_()
    rows = told(network, picture.detach()).reaches["row"]
    value = network(picture)[0, 7, 7].square().sum()  # its window does not touch the seam
    assert seen_rows_and_columns(value, picture)[0] == clipped(rows.low[7], rows.high[7], 16) == (5, 10)


def test_tokens_see_their_patch_until_attention():
    class Tokens(nn.Module):
        def __init__(self, attending: bool) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, 4)
            self.first = nn.Parameter(torch.zeros(1, 1, 8))
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True) if attending else None

        def forward(self, x: Tensor) -> Tensor:
            tokens = torch.cat([self.first, self.patches(x).flatten(2).transpose(1, 2)], 1)
            return tokens if self.attention is None else self.attention(tokens, tokens, tokens, need_weights=False)[0]

    picture = torch.rand(1, 3, 16, 16)
    patches = describe(told(Tokens(attending=False).eval(), picture), ImageSize(16, 16))
    assert (patches.height, patches.width, patches.whole_picture, patches.grid) == (4, 4, False, None)


@pytest.mark.parametrize(
    "mixing",
    [
        nn.AdaptiveAvgPool2d(1),
        nn.InstanceNorm2d(4),
        nn.GroupNorm(2, 4),
        nn.Sequential(nn.Flatten(), nn.Linear(4 * 24 * 20, 3)),
        nn.Softmax(2),
    ],
)
def test_what_reads_all_positions_sees_all_of_a_direction(mixing):
    sight = told(Applied(mixing).eval(), torch.rand(1, 3, 24, 20))
    assert sight.reaches["row"].is_whole
    assert sight.reaches["column"].is_whole == (not isinstance(mixing, nn.Softmax))


def test_squeeze_and_excitation_sees_everything_in_its_place():
    sight = told(Applied(lambda y: (y * y.mean((2, 3), keepdim=True))[:, :, ::2]).eval(), torch.rand(1, 3, 24, 20))
    field = describe(sight, ImageSize(24, 20))
    assert (field.whole_picture, field.height, field.width) == (True, 24, 20)
    assert (field.grid.row_stride, field.grid.column_stride, field.grid.row_offset) == (2, 1, 0)


@pytest.mark.parametrize(
    ("network", "stride", "offset"),
    [
        (nn.Conv2d(3, 2, 7, 2, 3), 2, 0),
        (nn.Conv2d(3, 2, 4, 4), 4, Fraction(3, 2)),
        (nn.Conv2d(3, 2, 3, padding=2), 1, -1),
        (nn.Sequential(nn.ConvTranspose2d(3, 2, 4, 2, 1)), Fraction(1, 2), Fraction(-1, 4)),
        (nn.Upsample(scale_factor=2), Fraction(1, 2), Fraction(-1, 4)),
        (nn.Upsample(scale_factor=2, mode="bilinear"), Fraction(1, 2), Fraction(-1, 4)),
        (nn.PixelShuffle(1), 1, 0),
    ],
)
def test_the_grid_is_that_of_the_closed_form(network, stride, offset):
    rows = told(network.eval(), torch.rand(1, 3, 24, 20)).reaches["row"]
    assert (rows.stride, rows.centre) == (stride, offset)


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (torchvision.models.googlenet, {"maxpool2": 27, "inception4a": 107}),
        (torchvision.models.resnet18, {"layer1": 43, "layer3.0": 147}),
        (torchvision.models.densenet121, {"features.denseblock1": 59}),
    ],
)
def test_known_networks_see_what_a_gradient_reaches(make, layers):
    options = {"init_weights": False, "aux_logits": False} if make is torchvision.models.googlenet else {}
    whole = open_wide(make(weights=None, **options))
    picture = random_picture(192, 192).requires_grad_()
    for layer, size in layers.items():
        network = create_feature_extractor(whole, {layer: "value"})
        value = network(picture)["value"]
        row, column = value.shape[2] // 2, value.shape[3] // 2
        sight = _sight_of(network, picture.detach())
        rows, columns = sight.reaches["row"], sight.reaches["column"]
        seen = seen_rows_and_columns(value[0, :, row, column].sum(), picture)
        assert seen == ((rows.low[row], rows.high[row]), (columns.low[column], columns.high[column]))
        assert rows.size == size


def _sight_of(network, picture):
    class Only(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            return self.network(x)["value"]

    return told(Only(), picture)

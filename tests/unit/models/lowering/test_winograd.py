"""3x3 convolutions by Winograd's algorithm."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx

from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.lowering import kernels, winograd
from phosphene_server.models.lowering.convolutions import make_packed
from phosphene_server.models.lowering.input_gradients import MirroredConvolution
from phosphene_server.models.lowering.kernels import Geometry, PackedConvolution, arranged_bytes
from phosphene_server.models.lowering.winograd import WinogradConvolution, pays
from tests.unit.models.lowering.small_graphs import answers, convolution, cut_of, drawn, in_float64, lowered, pictures

ROUNDING = 1e-5
"""How far results may be from exact ones, of the largest: what Lavin and Gray measured for F(4x4, 3x3) in float32."""

pytestmark = pytest.mark.skipif(not kernels.can_pack(torch.zeros(1, 1, 1, 1)), reason="this torch has no oneDNN")


def assert_close(result: Tensor, exact: Tensor) -> None:
    assert result.shape == exact.shape
    assert (result - exact).abs().max() < ROUNDING * exact.abs().max()


def winograd_convolution(
    values: Tensor, weight: Tensor, bias: Tensor | None = None, padding: tuple[int, int] = (1, 1)
) -> WinogradConvolution:
    return WinogradConvolution(weight, bias, padding, (values.shape[2], values.shape[3]))


@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 2), (0, 2)])
@pytest.mark.parametrize("size", [(3, 3), (4, 9), (8, 8), (13, 6), (17, 31)])
@pytest.mark.parametrize("biased", [False, True])
def test_results_are_those_of_a_direct_convolution_in_float64(
    size: tuple[int, int], padding: tuple[int, int], biased: bool
) -> None:
    values, weight, bias = pictures(3, 5, *size), drawn(7, 5, 3, 3), drawn(7) if biased else None
    exact = torch.conv2d(values.double(), weight.double(), None if bias is None else bias.double(), padding=padding)
    convolve = winograd_convolution(values, weight, bias, padding)
    assert_close(convolve(values), exact)
    assert_close(convolve(values, rectified=True), F.relu(exact))


@pytest.mark.parametrize("tiles", [1, 5, 12, 1000])
def test_blocks_of_any_size_make_the_same_whole(monkeypatch: pytest.MonkeyPatch, tiles: int) -> None:
    values, weight = pictures(3, 4, 18, 15), drawn(6, 4, 3, 3)
    monkeypatch.setattr(winograd, "TILES_AT_ONCE", tiles)
    exact = torch.conv2d(values.double(), weight.double(), padding=1)
    assert_close(winograd_convolution(values, weight)(values), exact)


@pytest.mark.parametrize(("side", "sizes"), [(8, {4, 64}), (14, {16, 64}), (28, {49, 98}), (56, {98}), (52, {91})])
def test_blocks_have_few_sizes_whatever_the_number_of_pictures(side: int, sizes: set[int]) -> None:
    values = pictures(1, 4, side, side)
    convolve = winograd_convolution(values, drawn(4, 4, 3, 3))
    for count in range(1, 30):
        convolve(values.expand(count, -1, -1, -1))
    assert set(convolve._products) == sizes


def test_a_picture_does_not_depend_on_its_neighbours() -> None:
    values = pictures(4, 8, 24, 24)
    convolve = winograd_convolution(values, drawn(8, 8, 3, 3))
    others = values.clone()
    others[[0, 2, 3]] = torch.randn(3, 8, 24, 24) * 100
    assert torch.equal(convolve(values)[1], convolve(others)[1])


@pytest.mark.parametrize("side", [8, 14, 24, 56])
def test_a_picture_is_the_same_to_its_rounding_wherever_it_stands(side: int) -> None:
    values = pictures(7, 16, side, side)
    convolve = winograd_convolution(values, drawn(24, 16, 3, 3))
    alone = torch.cat([convolve(values[index : index + 1]) for index in range(7)])
    assert_close(convolve(values), alone)


def test_pictures_of_any_layout_give_results_in_channels_last() -> None:
    values = pictures(2, 4, 10, 12)
    convolve = winograd_convolution(values, drawn(6, 4, 3, 3), drawn(6))
    results = [
        convolve(values.contiguous(memory_format=form)) for form in (torch.contiguous_format, torch.channels_last)
    ]
    assert torch.equal(*results)
    assert all(result.is_contiguous(memory_format=torch.channels_last) for result in results)


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_a_rectified_convolution_and_its_gradient_stay_what_they_were(
    monkeypatch: pytest.MonkeyPatch, padding: int
) -> None:
    monkeypatch.setattr(kernels, "winograd_pays", lambda *_: True)

    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        return {"relu": builder.call(F.relu, convolution(builder, source, 4, 6, 3, padding=padding))}

    cut, values = cut_of(write), pictures(2, 4, 11, 14)
    for result, exact in zip(answers(lowered(cut), values), answers(in_float64(cut), values.double()), strict=True):
        assert_close(result, exact)


@pytest.mark.parametrize(
    ("shape", "geometry", "side", "used"),
    [
        ((256, 256, 3, 3), Geometry(padding=(1, 1)), 32, True),
        ((256, 256, 3, 3), Geometry(padding=(1, 1)), 8, False),  # the weight is read for too few pixels
        ((16, 16, 3, 3), Geometry(padding=(1, 1)), 32, False),  # transforming takes longer than multiplying
        ((256, 256, 3, 3), Geometry((2, 2), (1, 1)), 64, False),
        ((256, 256, 3, 3), Geometry(padding=(2, 2), dilation=(2, 2)), 32, False),
        ((256, 1, 3, 3), Geometry(padding=(1, 1), groups=256), 32, False),
        ((256, 256, 1, 1), Geometry(), 32, False),
    ],
)
def test_it_is_used_where_it_is_faster(shape: tuple[int, ...], geometry: Geometry, side: int, used: bool) -> None:
    packed = PackedConvolution(drawn(*shape), None, geometry)
    packed(pictures(1, shape[1] * geometry.groups, side, side))
    (form,) = packed._forms.values()
    assert isinstance(form, WinogradConvolution) is used


@pytest.mark.parametrize(
    "shape", [(256, 256, 3, 3), (64, 192, 3, 3), (16, 16, 3, 3), (64, 3, 7, 7), (32, 64, 1, 1), (48, 1, 3, 3)]
)
def test_as_much_memory_is_counted_as_arranged_forms_take(shape: tuple[int, ...]) -> None:
    weight, groups = drawn(*shape), shape[0] if shape[1] == 1 else 1
    convolve, gradient = make_packed(weight, None, Geometry(padding=(shape[2] // 2, shape[3] // 2), groups=groups))
    values = pictures(1, shape[1] * groups, 40, 40)
    gradient(convolve(values), values.shape)
    assert isinstance(gradient, MirroredConvolution)
    forms = [*convolve._forms.values(), *gradient._convolution._forms.values()]
    parts = [part for form in forms for part in (form._products.values() if hasattr(form, "_products") else [form])]
    taken = sum(part._arguments[0].numel() * 4 for part in parts)
    assert 2 * weight.nbytes <= taken <= arranged_bytes(weight)


def test_more_channels_filters_or_pixels_pay_more() -> None:
    gains = [pays(size, size, (side, side), (1, 1)) for size in (32, 64, 128, 256) for side in (7, 14, 28, 56, 112)]
    assert gains == sorted(gains[:5]) + sorted(gains[5:10]) + sorted(gains[10:15]) + sorted(gains[15:])
    assert not any(gains[:5])
    assert all(gains[-2:])

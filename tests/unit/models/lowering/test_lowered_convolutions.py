"""Convolutions with arranged weights, and their derivatives."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import fx

from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.lowering import kernels
from phosphene_server.models.lowering.input_gradients import (
    GeneralGradient,
    MirroredConvolution,
    SubPixelConvolution,
    make_input_gradient,
)
from phosphene_server.models.lowering.kernels import Geometry
from tests.unit.models.lowering.small_graphs import (
    Write,
    assert_equivalent,
    convolution,
    cut_of,
    drawn,
    lowered,
    operations,
    pictures,
)

needs_packing = pytest.mark.skipif(not kernels.can_pack(torch.zeros(1, 1, 1, 1)), reason="this torch has no oneDNN")

SLIDES = [
    {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    for stride, padding, dilation, groups in itertools.product((1, 2, 3), (0, 1, 2), (1, 2), (1, 2))
]


def rectified(**settings: object) -> Write:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        return {"relu": builder.call(F.relu, convolution(builder, source, 4, 6, 3, **settings))}

    return write


@pytest.mark.parametrize("slide", SLIDES, ids=lambda slide: "-".join(str(value) for value in slide.values()))
@pytest.mark.parametrize("size", [(11, 14), (12, 9)])
def test_a_rectified_convolution_and_its_gradient_stay_what_they_were(
    slide: dict[str, int], size: tuple[int, int]
) -> None:
    assert_equivalent(cut_of(rectified(**slide)), pictures(2, 4, *size))


@pytest.mark.parametrize("slide", SLIDES, ids=lambda slide: "-".join(str(value) for value in slide.values()))
@pytest.mark.parametrize(("channels", "kernel"), [(4, (3, 3)), (2, (7, 5)), (12, (1, 2))])
def test_the_gradient_of_the_input_is_that_of_torch(
    slide: dict[str, int], channels: int, kernel: tuple[int, int]
) -> None:
    weight, inputs = drawn(8, channels // slide["groups"], *kernel), pictures(2, channels, 15, 16)
    exact = inputs.double().requires_grad_()
    result = torch.conv2d(exact, weight.double(), None, **slide)
    wanted = torch.randn(result.shape, generator=torch.Generator().manual_seed(2))
    (truth,) = torch.autograd.grad(result, exact, wanted.double())
    pairs = {name: (slide[name], slide[name]) for name in ("stride", "padding", "dilation")}
    gradient = make_input_gradient(weight, Geometry(**pairs, groups=slide["groups"]))(wanted, inputs.shape)
    assert gradient.shape == inputs.shape
    # A sum of n products of numbers of magnitude 1 is off by about sqrt(n) roundings; n is at most 8 * 7 * 5.
    assert (gradient - truth).abs().max() < 280**0.5 * torch.finfo(torch.float32).eps * truth.abs().max() * 4


@pytest.mark.parametrize(
    ("shape", "geometry", "form"),
    [
        ((8, 16, 3, 3), Geometry(padding=(1, 1)), MirroredConvolution),
        ((8, 1, 3, 3), Geometry(padding=(1, 1), groups=8), MirroredConvolution),
        ((8, 16, 1, 1), Geometry(padding=(1, 1)), GeneralGradient),  # the gradient of zeros around the picture
        ((8, 3, 7, 7), Geometry((2, 2), (3, 3)), SubPixelConvolution),
        ((8, 3, 7, 7), Geometry((2, 1), (3, 3)), GeneralGradient),
        ((8, 3, 3, 3), Geometry((2, 2), dilation=(2, 2)), GeneralGradient),
        ((8, 16, 3, 3), Geometry((2, 2), (1, 1)), GeneralGradient),  # many channels: most taps would be zeros
    ],
)
def test_each_convolution_gets_the_fastest_form_that_is_exact(
    shape: tuple[int, ...], geometry: Geometry, form: type
) -> None:
    assert isinstance(make_input_gradient(torch.zeros(shape), geometry), form)


def test_pixels_behind_the_last_window_have_no_gradient() -> None:
    gradient = make_input_gradient(torch.ones(2, 3, 4, 4), Geometry((4, 4)))
    result = gradient(torch.ones(1, 2, 2, 2), (1, 3, 11, 10))
    assert torch.equal(result[:, :, :8, :8], torch.full((1, 3, 8, 8), 2.0))
    assert result.sum() == result[:, :, :8, :8].sum()


@needs_packing
def test_a_rectifier_that_alone_reads_a_convolution_becomes_a_part_of_it() -> None:
    assert operations(lowered(cut_of(rectified()))) == ["Convolution"]


@needs_packing
def test_a_convolution_that_is_asked_for_keeps_its_own_value() -> None:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        values = convolution(builder, source, 3, 5, 3)
        return {"convolution": values, "relu": builder.call(F.relu, values)}

    graph = assert_equivalent(cut_of(write), pictures(2, 3, 9, 9))
    assert operations(graph) == ["Convolution", "Rectifier"]


def test_a_convolution_that_is_read_twice_keeps_its_own_value() -> None:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        values = convolution(builder, source, 3, 5, 3)
        return {"sum": builder.call(torch.add, builder.call(F.relu, values), builder.call(torch.sin, values))}

    assert_equivalent(cut_of(write), pictures(2, 3, 9, 9))


def test_a_rectifier_that_is_read_twice_gets_both_gradients() -> None:
    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        values = builder.call(F.relu, convolution(builder, source, 3, 5, 3))
        return {"relu": values, "sum": builder.call(torch.add, builder.call(torch.sin, values), values)}

    assert_equivalent(cut_of(write), pictures(2, 3, 9, 9))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_any_layout_of_the_pictures_will_do(layout: torch.memory_format) -> None:
    assert_equivalent(cut_of(rectified(stride=2)), pictures(2, 4, 13, 13).contiguous(memory_format=layout))


def test_pictures_and_sizes_may_change_from_call_to_call() -> None:
    cut = cut_of(rectified(padding=1))
    graph = lowered(cut)
    for batch, size in ((1, 8), (4, 8), (2, 40), (3, 16), (1, 24), (4, 8), (2, 40)):
        values = pictures(batch, 4, size, size + 1)
        torch.testing.assert_close(graph(values), cut(values), rtol=1e-5, atol=1e-5)


def test_no_more_than_a_few_arrangements_are_kept() -> None:
    packed = kernels.PackedConvolution(drawn(4, 3, 3, 3), None, Geometry())
    for size in (8, 9, 8, 10):
        packed(pictures(1, 3, size, size))
    assert list(packed._forms) == [(9, 9), (10, 10)]


@pytest.mark.parametrize("function", [torch.conv1d, torch.conv3d])
def test_other_convolutions_stay(function: object) -> None:
    axes = 1 if function is torch.conv1d else 3

    def write(builder: GraphBuilder, source: fx.Node) -> dict[str, fx.Node]:
        weight = builder.tensor("w", drawn(4, 3, *[3] * axes))
        return {"relu": builder.call(F.relu, builder.call(function, source, weight, None, 2))}  # type: ignore[arg-type]

    graph = lowered(cut_of(write))
    assert operations(graph) == [f"conv{axes}d", "Rectifier"]
    values = drawn(2, 3, *[8] * axes)
    assert torch.equal(graph(values)["relu"], cut_of(write)(values)["relu"])


def test_padding_that_torch_chooses_stays_torchs() -> None:
    assert_equivalent(cut_of(rectified(padding="same")), pictures(2, 4, 9, 9))


def test_float64_stays_exact() -> None:
    cut = cut_of(rectified(padding=1))
    cut.module.double()
    values = pictures(2, 4, 9, 9).double()
    assert torch.equal(lowered(cut)(values)["relu"], cut(values)["relu"])


def test_a_picture_without_a_batch_is_taken_as_torch_takes_it() -> None:
    cut = cut_of(rectified(padding=1))
    values = pictures(1, 4, 9, 9)[0]
    assert torch.equal(lowered(cut)(values)["relu"], cut(values)["relu"])


@pytest.mark.parametrize("shape", [(1, 5, 9, 9), (1, 4, 2, 2)])
def test_pictures_of_a_wrong_shape_are_refused_in_the_words_of_torch(shape: tuple[int, ...]) -> None:
    cut, values = cut_of(rectified()), pictures(*shape)
    with pytest.raises(RuntimeError) as expected:
        cut(values)
    with pytest.raises(RuntimeError) as refused:
        lowered(cut)(values)
    assert str(refused.value) == str(expected.value)


def test_without_onednn_convolutions_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    graph = assert_equivalent(cut_of(rectified()), pictures(1, 4, 9, 9))
    assert operations(graph) == ["conv2d", "Rectifier"]

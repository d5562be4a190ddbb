import numpy as np
import pytest
import torch
import torch.nn.functional as F

from phosphene_server.errors import InvalidArgument, LayerUnusable, NotFound
from phosphene_server.filters import extraction
from phosphene_server.filters.extraction import extract_filters
from phosphene_server.values.filter import ExtractFiltersRequest
from phosphene_server.values.model import ModelReference


def extract(model, *filters, layer="conv"):
    return extract_filters(model, ExtractFiltersRequest(ModelReference("tiny"), layer, filters))


@pytest.mark.parametrize(
    ("function", "shape", "groups"),
    [
        (F.conv1d, (6, 4, 5), 1),
        (F.conv2d, (6, 4, 3, 5), 1),
        (F.conv3d, (6, 4, 2, 3, 5), 1),
        (F.conv2d, (6, 2, 3, 3), 2),
        (F.conv2d, (6, 1, 3, 3), 6),
        (F.linear, (6, 12), 1),
    ],
)
def test_weights_are_exactly_those_of_the_layer(tiny, function, shape, groups):
    weight, bias = torch.randn(shape), torch.randn(shape[0])
    arguments = {} if function is F.linear else {"groups": groups}
    response = extract(tiny().layer("conv", weight, bias, function=function, **arguments).build())
    np.testing.assert_array_equal(response.weights, weight.numpy())
    np.testing.assert_array_equal(response.bias, bias.numpy())
    assert response.weights.dtype == np.float32
    assert response.groups == groups


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_filter_of_a_transposed_convolution_makes_its_output_channel(tiny, axes, groups):
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[axes - 1]
    weight = torch.randn(8, 3, *(3,) * axes)
    model = tiny().layer("conv", weight, function=function, groups=groups, transposed=True).build()
    weights = extract(model).weights
    assert weights.shape == (3 * groups, 8 // groups, *(3,) * axes)
    # One impulse in one channel answers with that channel's slice of every filter of its group.
    for channel in range(8):
        impulse = torch.zeros(1, 8, *(1,) * axes)
        impulse[0, channel] = 1
        answer = function(impulse, weight, groups=groups)[0].numpy()
        group, within = divmod(channel, 8 // groups)
        expected = np.zeros_like(answer)
        expected[group * 3 : group * 3 + 3] = weights[group * 3 : group * 3 + 3, within]
        np.testing.assert_array_equal(answer, expected)


def test_chosen_filters_come_in_the_order_asked_for(tiny):
    weight, bias = torch.randn(6, 4, 3, 3), torch.randn(6)
    response = extract(tiny().layer("conv", weight, bias).build(), 4, 0, 4)
    np.testing.assert_array_equal(response.weights, weight[[4, 0, 4]].numpy())
    np.testing.assert_array_equal(response.bias, bias[[4, 0, 4]].numpy())
    assert response.filters == (4, 0, 4)
    assert [row.index for row in response.statistics] == [4, 0, 4]


def test_layer_without_bias_has_none(tiny):
    assert extract(tiny().layer("conv", torch.randn(2, 1, 3, 3)).build()).bias is None


def test_statistics_tell_norm_extremes_and_mean(tiny):
    weight = torch.randn(5, 4, 3, 3)
    for row, numbers in zip(extract(tiny().layer("conv", weight).build()).statistics, weight.double(), strict=True):
        assert row.norm == pytest.approx(numbers.norm().item(), rel=1e-12)
        assert row.mean == pytest.approx(numbers.mean().item(), rel=1e-12)
        assert (row.minimum, row.maximum) == (numbers.min().item(), numbers.max().item())


def test_filter_below_a_thousandth_of_the_median_norm_is_dead(tiny):
    weight = torch.ones(5, 1, 2, 2)
    weight[1] *= 0.9e-3
    weight[2] *= 1.1e-3
    response = extract(tiny().layer("conv", weight).build())
    assert [row.dead for row in response.statistics] == [False, True, False, False, False]


def test_chosen_filter_is_judged_against_the_whole_layer(tiny):
    weight = torch.ones(5, 1, 2, 2)
    weight[1] *= 1e-6
    assert extract(tiny().layer("conv", weight).build(), 1).statistics[0].dead


@pytest.mark.parametrize("alive", [0, 1])
def test_filters_of_zeros_are_dead_even_where_the_median_is_zero(tiny, alive):
    weight = torch.zeros(4, 2, 3, 3)
    weight[:alive] = 1
    response = extract(tiny().layer("conv", weight).build())
    assert [row.dead for row in response.statistics] == [False] * alive + [True] * (4 - alive)


def test_index_out_of_range_names_its_place(tiny):
    with pytest.raises(InvalidArgument) as caught:
        extract(tiny().layer("conv", torch.randn(4, 1, 3, 3)).build(), 0, 3, 4)
    assert (caught.value.field, caught.value.value) == ("filters[2]", "4")
    assert "0 to 3" in caught.value.expected


def test_unknown_layer_is_not_found(tiny):
    with pytest.raises(NotFound, match="did you mean 'conv'"):
        extract(tiny().layer("conv", torch.randn(4, 1, 3, 3)).build(), layer="conb")


def test_layer_without_filters_is_told_from_those_that_have(tiny):
    model = tiny().layer("conv", torch.randn(4, 1, 3, 3)).then(torch.relu).named("relu", "relu").build()
    with pytest.raises(LayerUnusable, match="conv"):
        extract(model, layer="relu")


def test_weights_too_large_for_a_message_are_refused_with_how_many_fit(tiny, monkeypatch):
    monkeypatch.setattr(extraction, "WEIGHT_LIMIT", 1000)
    model = tiny().layer("conv", torch.randn(16, 3, 3, 3)).build()
    with pytest.raises(InvalidArgument, match="at most 9 filters") as caught:
        extract(model)
    assert caught.value.field == "filters"
    assert len(extract(model, *range(9)).weights) == 9


def test_figure_and_weights_together_must_fit_a_message(tiny, monkeypatch):
    monkeypatch.setattr(extraction, "MESSAGE_LIMIT", 1000)
    with pytest.raises(InvalidArgument) as caught:
        extract(tiny().layer("conv", torch.randn(8, 3, 3, 3)).build())
    assert caught.value.field == "figure.tile_limit"

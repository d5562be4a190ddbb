from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from phosphene_server.filters.color import reads_colors
from phosphene_server.filters.extraction import extract_filters
from phosphene_server.values.filter import ExtractFiltersRequest, FigureOptions
from phosphene_server.values.model import ModelReference

RGB = torch.randn(4, 3, 5, 5)


def in_color(model, layer="conv", channel_order="rgb"):
    return reads_colors(model.graph, layer, channel_order)


@pytest.mark.parametrize("channel_order", ["rgb", "bgr"])
def test_first_convolution_of_three_channels_reads_colors(tiny, channel_order):
    assert in_color(tiny().layer("conv", RGB, torch.zeros(4)).build(), channel_order=channel_order)


def test_colors_are_seen_through_what_treats_channels_alike(tiny):
    model = tiny().constant(torch.sub, torch.rand(1, 3, 1, 1)).then(F.avg_pool2d, 2).layer("conv", RGB).build()
    assert in_color(model)


def test_inner_layer_of_three_channels_reads_no_colors(tiny):
    model = tiny().layer("first", torch.randn(3, 3, 1, 1)).then(torch.relu).layer("conv", RGB).build()
    assert in_color(model, "first")
    assert not in_color(model)


def test_unnamed_mixing_of_channels_hides_colors(tiny):
    assert not in_color(tiny().constant(F.conv2d, torch.randn(3, 3, 1, 1)).layer("conv", RGB).build())


def test_reordering_hides_colors(tiny):
    assert not in_color(tiny().then(torch.flip, (1,)).layer("conv", RGB).build())


@pytest.mark.parametrize(
    ("function", "weight", "groups"),
    [(F.conv2d, torch.randn(4, 1, 5, 5), 1), (F.conv2d, torch.randn(9, 3, 5, 5), 3), (F.conv1d, RGB[:, :, 0], 1)],
)
def test_other_filters_are_gray(tiny, function, weight, groups):
    assert not in_color(tiny().layer("conv", weight, function=function, groups=groups).build())


def test_transposed_convolution_is_gray(tiny):
    weight = torch.randn(3, 4, 5, 5)
    assert not in_color(tiny().layer("conv", weight, function=F.conv_transpose2d, transposed=True).build())


@pytest.mark.parametrize("channel_order", ["rgb", "bgr"])
def test_red_weight_is_drawn_red_whatever_the_order_of_channels(tiny, read, channel_order):
    weight = torch.zeros(1, 3, 1, 1)
    weight[0, 0 if channel_order == "rgb" else 2] = 1
    model = tiny().layer("conv", weight).build()
    model = replace(
        model, model=replace(model.model, preprocessing=replace(model.model.preprocessing, channel_order=channel_order))
    )
    request = ExtractFiltersRequest(ModelReference("tiny"), "conv", (), FigureOptions(enlargement=1))
    response = extract_filters(model, request)
    assert read(response.figure.image).tolist() == [[[255, 0, 0]]]
    np.testing.assert_array_equal(response.weights, weight.numpy())

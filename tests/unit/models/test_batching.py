"""Splitting a batch: every picture gets what it would get alone, and so does its gradient."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.models.batching import (
    FIRST,
    Batching,
    PictureAxis,
    evaluate_in_chunks,
    picture_axis,
    pictures_first,
    possible_axes,
)
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.observation import observe
from phosphene_server.values.model import TensorSpecification

PICTURES = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def fixed_graph(batch: int) -> ModelGraph:
    """A graph with its batch written into it, whose layers have their pictures in various places."""
    generator = torch.Generator().manual_seed(1)
    builder = GraphBuilder()
    picture = builder.input("picture")
    weight = builder.tensor("weight", torch.randn(6, 16, generator=generator, dtype=torch.float64))
    planes = builder.call(torch.reshape, picture, (batch * 3, 16))
    features = builder.call(F.linear, planes, weight)
    rows = builder.call(torch.reshape, features, (batch, 18))
    columns = builder.call(torch.transpose, rows, 0, 1)
    output = builder.call(torch.sin, rows)
    for name, node in {"planes": planes, "rows": rows, "columns": columns, "output": output}.items():
        builder.layer(name, "module", node)
    entry = TensorSpecification("picture", "float64", (batch, 3, 4, 4))
    graph = builder.build([output], input_specifications=[entry], output_specifications=[])
    graph.set_batching(
        Batching(size=batch, axes={planes.name: PictureAxis(several=True), columns.name: PictureAxis(1)})
    )
    return graph


def expected(pictures: Tensor) -> dict[str, Tensor]:
    """What each picture gets, alone."""
    weight = fixed_graph(1).tensor("weight")
    planes = pictures.reshape(-1, 3, 16)
    rows = F.linear(planes, weight).reshape(-1, 18)
    return {"planes": planes, "rows": rows, "columns": rows, "output": rows.sin()}


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_fixed_batch_is_split_whatever_the_number_of_pictures(batch, count):
    pictures = PICTURES[:count].clone().requires_grad_()
    values = fixed_graph(batch).cut(["planes", "rows", "columns", "output"])(pictures)
    for name, value in expected(pictures).items():
        assert torch.allclose(values[name].reshape(value.shape), value, atol=1e-12), name
    (output,) = fixed_graph(batch)(pictures)
    assert torch.equal(output, values["output"])


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_gradients_reach_every_picture_once(batch):
    pictures = PICTURES.clone().requires_grad_()
    weights = torch.arange(1.0, 6.0, dtype=torch.float64)
    value = (fixed_graph(batch).cut(["output"])(pictures)["output"].sum(dim=1) * weights).sum()
    exact = (expected(pictures)["output"].sum(dim=1) * weights).sum()
    (ours,), (theirs,) = torch.autograd.grad(value, pictures), torch.autograd.grad(exact, pictures)
    assert torch.allclose(ours, theirs, atol=1e-12)


def test_shapes_are_those_that_a_cut_gives():
    graph = fixed_graph(2)
    shapes = graph.layer_shapes(observe(graph, (PICTURES[:2],)).shapes, batch=5)
    values = graph.cut(shapes)(PICTURES)
    assert shapes == {name: tuple(value.shape) for name, value in values.items()}
    assert shapes["planes"] == (5, 3, 16)


def test_inputs_without_a_batch_axis_go_with_every_chunk():
    batching = Batching(size=2, shared=frozenset({1}))
    seen = []

    def evaluate(pictures: Tensor, gain: Tensor) -> tuple[Tensor]:
        seen.append(len(pictures))
        return (pictures * gain,)

    gain = torch.tensor([3.0])
    (value,) = evaluate_in_chunks(evaluate, (PICTURES, gain), batching)
    assert seen == [2, 2, 2]
    assert torch.equal(value, PICTURES * 3)


def test_a_batch_that_fits_is_evaluated_at_once():
    calls = []
    evaluate_in_chunks(lambda pictures: calls.append(len(pictures)) or (pictures,), (PICTURES,), Batching(size=5))
    assert calls == [5]


def test_a_result_without_an_entry_for_each_picture_is_refused():
    with pytest.raises(RuntimeError, match="one entry for each of 2 pictures"):
        evaluate_in_chunks(lambda pictures: (pictures.sum(dim=0),), (PICTURES,), Batching(size=2))


@pytest.mark.parametrize(
    ("alone", "together", "axis"),
    [
        ((1, 8, 4), (2, 8, 4), FIRST),
        ((9, 1, 8), (9, 2, 8), PictureAxis(1)),
        ((16, 9, 8), (32, 9, 8), PictureAxis(0, several=True)),
        ((9, 4, 8), (9, 8, 8), PictureAxis(1, several=True)),
        ((9, 8), (9, 8), None),
        ((1, 8), (2, 16), None),
        ((1, 8), (3, 8), None),
        ((8,), (2, 8), None),
    ],
)
def test_the_axis_of_the_pictures_is_the_one_that_doubles(alone, together, axis):
    assert picture_axis(alone, together) == axis


@pytest.mark.parametrize(
    ("shape", "batch", "axes"),
    [
        ((1, 8), 1, (FIRST,)),
        ((9, 1, 8), 1, (PictureAxis(0, several=True),)),
        ((), 1, (PictureAxis(0, several=True),)),
        ((4, 8), 4, (FIRST,)),
        ((12, 9), 4, (PictureAxis(0, several=True),)),
        ((9, 4, 6), 4, (PictureAxis(1),)),
        ((12, 4, 9), 4, (PictureAxis(0, several=True), PictureAxis(1))),
        ((9, 7), 4, ()),
    ],
)
def test_a_fixed_batch_is_found_by_its_length(shape, batch, axes):
    assert possible_axes(shape, batch=batch) == axes


@pytest.mark.parametrize("axis", [FIRST, PictureAxis(1), PictureAxis(0, several=True), PictureAxis(2, several=True)])
def test_the_shape_with_pictures_first_is_that_of_the_value(axis):
    value = torch.rand(4, 6, 2)
    batch = 2 if axis.several else value.shape[axis.axis]
    turned = pictures_first(value, torch.zeros(batch, 3, 4, 4), axis.axis, axis.several)
    assert axis.shape((4, 6, 2), batch=batch) == tuple(turned.shape)
    assert turned.shape[0] == batch

"""Random numbers: the same at every evaluation, and of the distribution that their operator names."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from tests.unit.models.importers.onnx_texts import imported

OPERATORS = ["RandomNormalLike", "RandomUniformLike", "Bernoulli"]


def two_draws(folder: Path, operator: str, attributes: str, shape: tuple[int, int]) -> list[torch.Tensor]:
    text = f"""(float[N, M] x) => (float[N, M] y, float[N, M] z)
    {{ y = {operator} {attributes} (x) z = {operator} {attributes} (x) }}"""
    return list(imported(folder, text)(torch.full(shape, 0.3)))


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_same_model_draws_the_same_numbers_each_time(tmp_path: Path, operator: str) -> None:
    first, again = (two_draws(tmp_path, operator, "", (4, 50)) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


@pytest.mark.parametrize("operator", OPERATORS)
def test_nodes_draw_different_numbers_unless_they_have_the_same_seed(tmp_path: Path, operator: str) -> None:
    first, second = two_draws(tmp_path, operator, "", (4, 50))
    assert not torch.equal(first, second)
    first, second = two_draws(tmp_path, operator, "<seed = 7.0>", (4, 50))
    assert torch.equal(first, second)


def test_the_first_pictures_of_a_batch_do_not_depend_on_how_many_follow(tmp_path: Path) -> None:
    few, _ = two_draws(tmp_path, "RandomNormalLike", "", (2, 50))
    many, _ = two_draws(tmp_path, "RandomNormalLike", "", (5, 50))
    assert torch.equal(few, many[:2])


def test_constants_are_drawn_at_import(tmp_path: Path) -> None:
    text = """(float[N] x) => (float[2000] y, float[2000] z)
    { y = RandomNormal <shape = [2000], mean = 3.0, scale = 2.0> ()
      z = RandomUniform <shape = [2000], low = 2.0, high = 4.0> () }"""
    normal, uniform = (output.numpy() for output in imported(tmp_path, text)(torch.zeros(1)))
    assert stats.kstest(normal, stats.norm(3, 2).cdf).pvalue > 1e-3
    assert stats.kstest(uniform, stats.uniform(2, 2).cdf).pvalue > 1e-3


def test_bernoulli_is_one_as_often_as_its_probability(tmp_path: Path) -> None:
    drawn, _ = two_draws(tmp_path, "Bernoulli", "", (1, 10_000))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.mean().item() == pytest.approx(0.3, abs=0.02)  # four standard deviations


def test_multinomial_draws_classes_as_often_as_their_odds(tmp_path: Path) -> None:
    graph = imported(tmp_path, "(float[N, 3] x) => (int32[N, K] y) { y = Multinomial <sample_size = 20000> (x) }")
    odds = np.array([[1, 2, 5], [6, 1, 1]])
    (drawn,) = graph(torch.from_numpy(np.log(odds)).float())
    assert drawn.dtype == torch.int32
    shares = np.stack([np.bincount(row, minlength=3) for row in drawn.numpy()]) / 20000
    np.testing.assert_allclose(shares, odds / 8, atol=0.015)


TRAINING = """(float[N, M] x) => (float[N, M] y, bool[N, M] mask) <float ratio = {0.25}, bool training = {1}>
{ y, mask = Dropout (x, ratio, training) }"""


def test_dropout_in_training_mode_keeps_the_mean_and_passes_the_gradient_of_what_it_keeps(tmp_path: Path) -> None:
    source = torch.ones(10, 1000, requires_grad=True)
    result, mask = imported(tmp_path, TRAINING)(source)
    (gradient,) = torch.autograd.grad(result.sum(), source)
    assert mask.float().mean().item() == pytest.approx(0.75, abs=0.02)
    assert torch.equal(result, mask / 0.75)
    assert torch.equal(gradient, mask / 0.75)


@pytest.mark.parametrize("text", [TRAINING.replace("{1}", "{0}"), TRAINING.replace("0.25", "0.0")])
def test_dropout_outside_of_training_is_the_identity(tmp_path: Path, text: str) -> None:
    source = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    result, mask = imported(tmp_path, text)(source)
    assert torch.equal(result, source)
    assert mask.all()

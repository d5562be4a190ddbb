"""Losses, against ONNX's own evaluator and finite differences."""

from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene_server.models.importers.onnx import import_onnx
from tests.unit.models.importers.onnx_texts import run_reference, write

RANDOM = np.random.default_rng(11)
SCORES = RANDOM.standard_normal((3, 4, 2, 5)).astype(np.float32)
CLASSES = RANDOM.integers(0, 4, (3, 2, 5)).astype(np.int32)
WEIGHTS = np.array([0.5, 1.0, 2.0, 0.1], np.float32)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("ignored", ["", ", ignore_index = 2"], ids=["all classes", "one ignored"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("operator", ["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"])
def test_losses_are_those_of_onnx_and_have_a_gradient(
    tmp_path: Path, operator: str, weighted: bool, ignored: str, reduction: str
) -> None:
    kind = "float[3, 2, 5]" if reduction == "none" else "float"
    extra = ", float[4] w" if weighted else ""
    text = f"""(float[3, 4, 2, 5] x, int32[3, 2, 5] t{extra}) => ({kind} y)
    {{ y = {operator} <reduction = "{reduction}"{ignored}> (x, t{", w" if weighted else ""}) }}"""
    inputs = (SCORES, CLASSES, *((WEIGHTS,) if weighted else ()))
    path = write(tmp_path, text)
    graph = import_onnx(path, name="loss")
    (ours,) = graph(*map(torch.from_numpy, inputs))
    np.testing.assert_allclose(ours.numpy(), run_reference(path, *inputs)[0], rtol=1e-5)
    scores, *others = map(torch.from_numpy, (SCORES.astype(np.float64), *inputs[1:]))
    others = [other.double() if other.is_floating_point() else other for other in others]
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda tensor: graph(tensor, *others)[0], (scores,), fast_mode=True)


def test_the_second_output_is_the_logarithms_of_the_probabilities(tmp_path: Path) -> None:
    text = """(float[3, 4, 2, 5] x, int32[3, 2, 5] t) => (float y, float[3, 4, 2, 5] p)
    { y, p = SoftmaxCrossEntropyLoss (x, t) }"""
    _, logarithms = import_onnx(write(tmp_path, text), name="loss")(torch.from_numpy(SCORES), torch.from_numpy(CLASSES))
    torch.testing.assert_close(logarithms.exp().sum(1), torch.ones(3, 2, 5))

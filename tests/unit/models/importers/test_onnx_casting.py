"""Casts: integers of every width, bits, and what half precision becomes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene_server.errors import DamagedModel
from phosphene_server.models.importers.onnx.tensors import from_array
from tests.unit.models.importers.onnx_texts import imported, run_reference


@pytest.mark.parametrize("target", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int4", "uint4"])
@pytest.mark.parametrize("source", ["int8", "uint8", "uint16", "int32", "int64"])
def test_integers_wrap_around_at_the_width_of_their_type(tmp_path: Path, source: str, target: str) -> None:
    information = np.iinfo(source)
    values = np.array([0, 1, 7, 8, 100, information.max, information.min, information.max // 3], dtype=source)
    text = f"({source}[N] x, {target}[N] like) => ({target}[N] y) {{ y = CastLike (x, like) }}"
    graph = imported(tmp_path, text)
    (ours,) = graph(from_array(values), torch.zeros(8))
    bits = int(target.lstrip("uint"))
    wrapped = values.astype(object) % 2**bits
    expected = [number - 2**bits if target[0] == "i" and number >= 2 ** (bits - 1) else number for number in wrapped]
    assert ours.tolist() == expected


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32"])
def test_arithmetic_of_unsigned_integers_wraps_around(tmp_path: Path, operator: str, kind: str) -> None:
    largest = np.iinfo(kind).max
    first, second = np.array([largest, 3, 5, 200], kind), np.array([1, 5, largest, 201], kind)
    text = f"({kind}[4] a, {kind}[4] b) => ({kind}[4] y) {{ y = {operator} (a, b) }}"
    (ours,) = imported(tmp_path, text)(from_array(first), from_array(second))
    (theirs,) = run_reference(tmp_path / "model.onnx", first, second)
    assert ours.tolist() == theirs.tolist()


def test_floating_point_numbers_lose_their_fraction(tmp_path: Path) -> None:
    graph = imported(tmp_path, "(float[N] x) => (int32[N] y) { y = Cast <to = 6> (x) }")
    assert graph(torch.tensor([-1.9, -0.5, 0.5, 1.9]))[0].tolist() == [-1, 0, 0, 1]


def test_bits_are_those_of_the_declared_type_whatever_the_graph_computes_in(tmp_path: Path) -> None:
    text = "(float[N] x) => (int32[N] b, float[N] y) { b = BitCast <to = 6> (x) y = BitCast <to = 1> (b) }"
    graph = imported(tmp_path, text, opset=26).to(dtype=torch.float64)
    values = torch.tensor([1.0, -2.5, 0.1], dtype=torch.float32)
    bits, restored = graph(values.double())
    assert bits.tolist() == values.numpy().view(np.int32).tolist()
    assert restored.dtype == torch.float64
    assert restored.tolist() == values.tolist()


def test_bits_of_another_width_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedModel, match="different widths"):
        imported(tmp_path, "(float[N] x) => (int64[N] y) { y = BitCast <to = 7> (x) }", opset=26)


MASKED = """(float[1, 3] x, bool[1, 3] open) => (float[1, 3] y)
{ half = Cast <to = 10> (x) mask = Constant <value_float = NUMBER> () low = Cast <to = 10> (mask)
  masked = Where (open, half, low) weights = Softmax (masked) y = Cast <to = 1> (weights) }"""


@pytest.mark.parametrize("mask", ["-65504.0", "-3.4e38"])
def test_masks_of_half_precision_networks_still_mask(tmp_path: Path, mask: str) -> None:
    graph = imported(tmp_path, MASKED.replace("NUMBER", mask))
    (weights,) = graph(torch.tensor([[0.3, 9.0, 0.3]]), torch.tensor([[True, False, True]]))
    assert weights.dtype == torch.float32
    assert weights.tolist() == [[0.5, 0.0, 0.5]]


def test_casts_between_floating_point_types_keep_numbers_and_gradients(tmp_path: Path) -> None:
    text = """(float[N] x) => (float[N] y)
    { h = Cast <to = 10> (x) b = Cast <to = 16> (h) d = Cast <to = 11> (b) y = Cast <to = 1> (d) }"""
    source = torch.tensor([1e-9, 1e9, 0.1], requires_grad=True)
    (result,) = imported(tmp_path, text)(source)
    (gradient,) = torch.autograd.grad(result.sum(), source)
    assert result.tolist() == source.tolist()
    assert gradient.tolist() == [1.0, 1.0, 1.0]


def test_double_constants_are_folded_in_double_precision(tmp_path: Path) -> None:
    text = """(float[N] x) => (int64 y) <int64 large = {123456789}>
    { d = Cast <to = 11> (large) n = Neg (d) p = Neg (n) y = Cast <to = 7> (p) }"""
    assert imported(tmp_path, text)(torch.zeros(1))[0].item() == 123456789

"""Operators on bits, against numpy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene_server.models.importers.onnx.tensors import from_array
from tests.unit.models.importers.onnx_texts import imported

UNSIGNED = ["uint8", "uint16", "uint32", "uint64"]
PATTERNS = [0x0123456789ABCDEF, 0xFEDCBA9876543210, 0xFFFFFFFFFFFFFFFF, 0, 1, 0x8000800080808080]


def patterns(kind: str) -> np.ndarray:
    return np.array([pattern & int(np.iinfo(kind).max) for pattern in PATTERNS], dtype=kind)


def same_bits(ours: Any, theirs: np.ndarray) -> None:
    """Compare; a uint64 is held in an int64 of the same bits."""
    held = theirs.view(np.int64) if theirs.dtype == np.uint64 else theirs
    assert ours.tolist() == held.tolist()


@pytest.mark.parametrize("kind", UNSIGNED)
@pytest.mark.parametrize(("direction", "function"), [("LEFT", np.left_shift), ("RIGHT", np.right_shift)])
def test_shifts_lose_what_leaves_the_type(
    tmp_path: Path, kind: str, direction: str, function: Callable[..., np.ndarray]
) -> None:
    places = np.array([1, 3, np.iinfo(kind).bits - 1, 0, 7, 5], dtype=kind)
    text = f'({kind}[N] a, {kind}[N] b) => ({kind}[N] y) {{ y = BitShift <direction = "{direction}"> (a, b) }}'
    (ours,) = imported(tmp_path, text)(from_array(patterns(kind)), from_array(places))
    same_bits(ours, function(patterns(kind), places))


@pytest.mark.parametrize("kind", [*UNSIGNED, "int8", "int32", "int64"])
def test_inversion_stays_within_the_type(tmp_path: Path, kind: str) -> None:
    graph = imported(tmp_path, f"({kind}[N] x) => ({kind}[N] y) {{ y = BitwiseNot (x) }}")
    same_bits(graph(from_array(patterns(kind)))[0], np.invert(patterns(kind)))


@pytest.mark.parametrize(
    ("operator", "function"),
    [("BitwiseAnd", np.bitwise_and), ("BitwiseOr", np.bitwise_or), ("BitwiseXor", np.bitwise_xor)],
)
def test_quantized_numbers_have_the_bits_of_their_type(
    tmp_path: Path, operator: str, function: Callable[..., np.ndarray]
) -> None:
    text = f"""(float[N] x) => (uint8[N] y) <float scale = {{0.5}}, uint8 zero = {{128}}, uint8 mask = {{90}}>
    {{ q = QuantizeLinear (x, scale, zero) y = {operator} (q, mask) }}"""
    values = np.arange(-8, 8, dtype=np.float32)
    (ours,) = imported(tmp_path, text)(from_array(values))
    steps = (values * 2 + 128).astype(np.uint8)
    assert ours.tolist() == function(steps, np.uint8(90)).tolist()

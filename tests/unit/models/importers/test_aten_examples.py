"""What is known of shapes, against what torch computes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from phosphene_server.models.importers.aten.examples import RULES, evaluate_example

PICTURE, OTHER = (2, 6, 9, 7), (1, 6, 1, 7)

CASES: list[tuple[Callable[..., Any], list[Any], dict[str, Any]]] = [
    (F.batch_norm, [PICTURE, (6,), (6,), (6,), (6,), False, 0.1, 1e-5], {}),
    (F.batch_norm, [PICTURE, (5,), (5,)], {}),
    (F.layer_norm, [PICTURE, [9, 7], (9, 7), (9, 7), 1e-5], {}),
    (F.layer_norm, [PICTURE, [6]], {}),
    (F.linear, [PICTURE, (3, 7), (3,)], {}),
    (F.linear, [PICTURE, (3, 6), (3,)], {}),
    (F.conv1d, [(2, 4, 9), (6, 2, 3), (6,), (2,), (1,), (2,), 2], {}),
    (F.conv2d, [PICTURE, (4, 6, 3, 2), None, (2, 3), (1, 0), (1, 2), 1], {}),
    (F.conv2d, [PICTURE, (4, 5, 3, 2), None, (2, 3), (1, 0), (1, 2), 1], {}),
    (F.conv2d, [PICTURE, (4, 6, 11, 2), None, (1, 1), (0, 0), (1, 1), 1], {}),
    (F.conv2d, [PICTURE, (6, 1, 3, 3), (6,), (1, 1), "same", (1, 1), 6], {}),
    (F.conv3d, [(1, 2, 5, 6, 7), (3, 2, 2, 3, 4), None, (1, 2, 3), (1, 1, 1), (1, 1, 1), 1], {}),
    (F.max_pool2d, [PICTURE, [3, 3], [2, 2], [1, 1], [1, 1]], {"ceil_mode": True}),
    (F.max_pool2d, [PICTURE, 2, None, 0, 1], {"ceil_mode": True}),
    (F.max_pool2d, [PICTURE, [2, 2], [5, 5], 0, 1], {"ceil_mode": True}),
    (F.max_pool2d, [PICTURE, [12, 2]], {}),
    (F.avg_pool2d, [PICTURE, [3, 3], [2, 2], [1, 1], True, False], {}),
    (F.adaptive_avg_pool2d, [PICTURE, [3, None]], {}),
    (F.adaptive_avg_pool2d, [PICTURE, 2], {}),
    (F.scaled_dot_product_attention, [(2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 8), (1, 1, 5, 6)], {"is_causal": False}),
    (F.scaled_dot_product_attention, [(2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 8), (1, 1, 6, 5)], {}),
    (F.scaled_dot_product_attention, [(2, 3, 5, 4), (1, 3, 6, 4), (1, 3, 6, 8)], {}),
    (torch.matmul, [(2, 3, 4), (5, 1, 4, 6)], {}),
    (torch.matmul, [(2, 3, 4), (4,)], {}),
    (torch.matmul, [(2, 3, 4), (3, 4)], {}),
    (torch.cat, [[PICTURE, (2, 1, 9, 7)], 1], {}),
    (torch.cat, [[PICTURE, (2, 1, 9, 7)], -1], {}),
    (torch.roll, [PICTURE, (1, 2), (2, 3)], {}),
    *[(function, [PICTURE, OTHER], {}) for function in (torch.add, torch.sub, torch.mul, torch.div)],
    *[(function, [PICTURE, 2], {}) for function in (torch.add, torch.sub, torch.mul, torch.div)],
    (torch.add, [PICTURE, (3, 1, 1, 1)], {}),
    (torch.div, [PICTURE, OTHER], {"rounding_mode": "floor"}),
    *[
        (function, [PICTURE], {})
        for function in (F.relu, F.relu6, F.hardtanh, F.leaky_relu, F.hardswish, F.hardsigmoid)
    ],
    *[(function, [PICTURE], {}) for function in (F.silu, torch.sigmoid, torch.tanh)],
    (F.gelu, [PICTURE], {"approximate": "tanh"}),
    (F.softmax, [PICTURE, 1], {}),
]


def tensors(value: Any, device: str) -> Any:
    """Return the arguments with a tensor in the place of every tuple of lengths; other pairs are lists in `CASES`."""
    if isinstance(value, list):
        return [tensors(part, device) for part in value]
    return torch.rand(value).to(device) if isinstance(value, tuple) else value


@pytest.mark.parametrize(("function", "arguments", "keywords"), CASES)
def test_examples_are_like_results(
    function: Callable[..., Any], arguments: list[Any], keywords: dict[str, Any]
) -> None:
    settings = SETTINGS.get(function, len(arguments))
    real = [*tensors(arguments[:settings], "cpu"), *arguments[settings:]]
    meta = [*tensors(arguments[:settings], "meta"), *arguments[settings:]]
    try:
        expected = function(*real, **keywords)
    except (RuntimeError, ValueError):
        with pytest.raises((RuntimeError, ValueError)):
            evaluate_example(function, meta, keywords)
    else:
        found = evaluate_example(function, meta, keywords)
        assert (found.shape, found.dtype, found.stride()) == (expected.shape, expected.dtype, expected.stride())
        assert found.is_meta


SETTINGS = {F.conv1d: 3, F.conv2d: 3, F.conv3d: 3, torch.roll: 1}
"""How many arguments come before those that are tuples of numbers."""


def test_every_rule_is_tested() -> None:
    assert {function for function, _, _ in CASES} == set(RULES)

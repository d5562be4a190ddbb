"""How many multiplications with addition an operation takes: the usual measure of what a network costs.

Convolutions and products of matrices count, everything else is free. One multiply-accumulate is two of the
floating-point operations that `torch.utils.flop_counter` counts.
"""

import math
from collections.abc import Callable, Mapping

from phosphene_server.models.receptive_fields import Call


def _convolution(call: Call) -> int:
    """Every place of the result, or of the input where transposed, meets every weight of a group."""
    places = call["input"].shape[2:] if call["transposed"] else call.results[0].shape[2:]
    batch = call["input"].shape[0] if call["input"].dim() > 2 else 1
    return int(batch * math.prod(places) * call["weight"].numel())


def _product(first: str, second: str) -> Callable[[Call], int]:
    """(..., rows, inner) by (..., inner, columns)."""
    return lambda call: int(call[first].numel() * call[second].shape[-1])


def _product_with_vector(call: Call) -> int:
    return int(call.arguments["self"].numel())


def _attention(call: Call) -> int:
    """Queries by keys, then weights by values; (batch, head, token, feature)."""
    query, key, value = call["query"], call["key"], call["value"]
    pairs = query.numel() // query.shape[-1] * key.shape[-2]
    return int(pairs * (query.shape[-1] + value.shape[-1]))


COUNTS: Mapping[str, tuple[str, Callable[[Call], int]]] = {
    "convolution": ("weight", _convolution),
    "mm": ("mat2", _product("self", "mat2")),
    "bmm": ("mat2", _product("self", "mat2")),
    "addmm": ("mat2", _product("mat1", "mat2")),
    "baddbmm": ("batch2", _product("batch1", "batch2")),
    "mv": ("vec", _product_with_vector),
    "dot": ("tensor", _product_with_vector),
    "_scaled_dot_product_flash_attention_for_cpu": ("key", _attention),
    "_scaled_dot_product_flash_attention": ("key", _attention),
    "_scaled_dot_product_efficient_attention": ("key", _attention),
    "_scaled_dot_product_cudnn_attention": ("key", _attention),
}
"""Operator -> the factor whose origin decides, and the number.

Importers write a few operations, for example pooling with odd borders, as convolutions with kernels of ones that are
made on the spot. Those kernels are neither trained nor computed from the picture, and do not count.
"""

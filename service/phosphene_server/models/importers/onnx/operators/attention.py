"""Attention and rotary positions.

Attention is `F.scaled_dot_product_attention` wherever nothing is asked for that it does not do: soft caps and the
products of queries and keys as an output. All masks (the file's own, causal, sliding window, length of the cache) are
joined into one before it.

References:
    Vaswani et al. 2017, Attention Is All You Need (https://arxiv.org/abs/1706.03762).
    Su et al. 2021, RoFormer: rotary position embedding (https://arxiv.org/abs/2104.09864).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.values import Value

RAW, CAPPED, MASKED, NORMALIZED = 0, 1, 2, 3
"""What `qk_matmul_output_mode` asks for: the products, after the soft cap, after the mask, after the softmax."""


def attention(operation: Operation) -> tuple[Value, ...]:
    """Attention, whose further outputs are the keys and values with those of the past, and the products."""
    if operation.input(0) is None or operation.known_rank(0) not in (3, 4):
        raise operation.unsupported("queries that have neither three nor four axes")
    flat = operation.known_rank(0) == 3
    heads, shared = operation.attribute("q_num_heads"), operation.attribute("kv_num_heads")
    query, key, value = (
        operation.call(split_heads, operation.data(index), count) if flat else operation.data(index)
        for index, count in enumerate((heads, shared, shared))
    )
    past = operation.optional(4)
    if past is not None:
        key = operation.call(torch.cat, [past, key], 2)
        value = operation.call(torch.cat, [operation.data(5), value], 2)
    cap, wants_products = operation.attribute("softcap", 0.0), operation.wants(3)
    scale, grouped = operation.attribute("scale"), _is_grouped(operation, flat)
    products: Value | None = None
    if cap == 0.0 and not wants_products:
        mask, causal = _mask(operation, query, key, past)
        result = operation.call(
            F.scaled_dot_product_attention, query, key, value, mask, 0.0, causal, scale=scale, enable_gqa=grouped
        )
    else:
        mask, causal = _mask(operation, query, key, past, whole=True)
        mode = operation.attribute("qk_matmul_output_mode", RAW)
        both = operation.evaluate(attend, query, key, value, mask, scale=scale, cap=cap, mode=mode)
        result, products = operation.parts(both, 2)
    result = operation.call(join_heads, result) if flat else result
    return (result, key, value) if products is None else (result, key, value, products)


def split_heads(tensor: Tensor, heads: int) -> Tensor:
    """Return (batch, time, heads * depth) as (batch, head, time, depth)."""
    return tensor.reshape(*tensor.shape[:2], heads, -1).transpose(1, 2)


def join_heads(tensor: Tensor) -> Tensor:
    """Return (batch, head, time, depth) as (batch, time, heads * depth)."""
    return tensor.transpose(1, 2).flatten(2)


def _is_grouped(operation: Operation, flat: bool) -> bool:
    """Whether several query heads share one of keys and values; taken for true where it is not known."""
    if flat:
        return bool(operation.attribute("q_num_heads") != operation.attribute("kv_num_heads"))
    declared = [operation.declared_shape(index) for index in (0, 1)]
    heads = [shape[1] if shape else None for shape in declared]
    return None in heads or heads[0] != heads[1]


def _mask(
    operation: Operation,
    query: Tensor | fx.Node,
    key: Tensor | fx.Node,
    past: Tensor | fx.Node | None,
    *,
    whole: bool = False,
) -> tuple[Tensor | fx.Node | None, bool]:
    """Return the one mask, and whether attention is causal beside it; `whole`: the mask has that too."""
    given, lengths = operation.optional(3), operation.optional(6)
    causal = bool(operation.attribute("is_causal", 0))
    window = (operation.attribute("left_window_size", -1), operation.attribute("right_window_size", -1))
    bare = given is None and lengths is None and past is None and window == (-1, -1)
    if bare and not (causal and whole):
        return None, causal
    joined = operation.call(join_masks, query, key, given, past, lengths, causal=causal, window=window)
    return joined, False


def join_masks(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    past: Tensor | None,
    lengths: Tensor | None,
    *,
    causal: bool,
    window: Sequence[int],
) -> Tensor:
    """Join all that keeps queries from looking at keys.

    Args:
        query: (batch, head, time, depth).
        key: (batch, head, key time, depth), with those of the past.
        mask: Broadcasts to (batch, head, time, key time): true where a query may look, or numbers to add. Keys that it
            does not reach are not looked at.
        past: Keys of the past, (batch, head, past time, depth), which come before the queries.
        lengths: (batch,): how many keys there are, where the rest is padding; the last belongs to the last query.
        causal: Whether a query looks at no later keys.
        window: How many earlier and later keys a query looks at; -1: all.

    Returns:
        As `mask`, of boolean type unless that is not.
    """
    keys = key.shape[2]
    start = torch.zeros(1, 1, 1, 1, dtype=torch.int64, device=query.device)
    if lengths is not None:
        start = lengths.long().reshape(-1, 1, 1, 1) - query.shape[2]
    elif past is not None:
        start = start + past.shape[2]
    place = start + torch.arange(query.shape[2], device=query.device)[:, None]  # (batch or 1, 1, time, 1)
    allowed = _reachable(place, keys, causal=causal, window=window)
    if lengths is not None:
        allowed = allowed & (torch.arange(keys, device=query.device) < lengths.reshape(-1, 1, 1, 1))
    if mask is None:
        return allowed
    missing = (0, keys - mask.shape[-1])
    if mask.dtype == torch.bool:
        return F.pad(mask, missing, value=False) & allowed
    padded = F.pad(mask, missing, value=-torch.inf)
    return padded.masked_fill(~allowed, -torch.inf) if padded.ndim > 1 else torch.where(allowed, padded, -torch.inf)


def _reachable(place: Tensor, keys: int, *, causal: bool, window: Sequence[int]) -> Tensor:
    """Return which keys are near enough, (batch or 1, 1, time, key time) or (time, key time) where all are.

    Args:
        place: (batch or 1, 1, time, 1): where each query stands among the keys.
        keys: How many keys there are.
        causal: As in `join_masks`.
        window: As in `join_masks`.
    """
    steps = torch.arange(keys, device=place.device)
    allowed = torch.ones(place.shape[2], keys, dtype=torch.bool, device=place.device)
    if causal:
        allowed = allowed & (steps <= place)
    before, after = window
    if before >= 0:
        allowed = allowed & (place - steps <= before)
    return allowed & (steps - place <= after) if after >= 0 else allowed


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scale: float | None,
    cap: float,
    mode: int,
) -> tuple[Tensor, Tensor]:
    """Attend step by step.

    Args:
        query: (batch, head, time, depth).
        key: (batch, head or fewer, key time, depth).
        value: (batch, head or fewer, key time, value depth).
        mask: As `join_masks` gives it.
        scale: What products are multiplied with; None: 1 / sqrt(depth).
        cap: Products are squeezed into [-cap, cap] by tanh; 0: they are not.
        mode: Which products to return.

    Returns:
        (batch, head, time, value depth), zero for queries that look nowhere, and the products (batch, head, time, key
        time).
    """
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    root = math.sqrt(scale if scale is not None else 1.0 / math.sqrt(query.shape[-1]))
    raw = torch.matmul(query * root, key.transpose(-2, -1) * root)
    capped = torch.tanh(raw / cap) * cap if cap else raw
    masked, nowhere = capped, None
    if mask is not None:
        bias = torch.where(mask, 0.0, -torch.inf).to(query.dtype) if mask.dtype == torch.bool else mask
        nowhere = (bias == -torch.inf).all(-1, keepdim=True)
        masked = capped + bias
    # A row of -inf alone has no softmax, neither value nor gradient: it is taken of zeros and then set to zero.
    normalized = F.softmax(masked if nowhere is None else masked.masked_fill(nowhere, 0.0), -1)
    normalized = normalized if nowhere is None else normalized.masked_fill(nowhere, 0.0)
    return torch.matmul(normalized, value), (raw, capped, masked, normalized)[mode]


def rotary_embedding(operation: Operation) -> Value:
    """RotaryEmbedding."""
    value, cosines, sines, positions = (operation.optional(index) for index in range(4))
    heads, depth = operation.attribute("num_heads", 0), operation.attribute("rotary_embedding_dim", 0)
    interleaved = bool(operation.attribute("interleaved", 0))
    return operation.call(rotate, value, cosines, sines, positions, heads, depth, interleaved=interleaved)


def rotate(
    tensor: Tensor,
    cosines: Tensor,
    sines: Tensor,
    positions: Tensor | None,
    heads: int,
    depth: int,
    *,
    interleaved: bool,
) -> Tensor:
    """Rotate pairs of elements by angles that grow with the position.

    Args:
        tensor: (batch, head, time, head depth) or (batch, time, heads * head depth).
        cosines: (batch, time, depth / 2), or of all positions (position, depth / 2).
        sines: As `cosines`.
        positions: (batch, time); None: `cosines` are those of the steps already.
        heads: Number of heads, for a tensor with three axes.
        depth: How many elements of each head are rotated, the first ones; 0: all.
        interleaved: Whether neighbours are pairs, else the elements of the first half and those of the second.
    """
    parts = split_heads(tensor, heads) if tensor.ndim == 3 else tensor
    if positions is not None:
        cosines, sines = cosines[positions.long()], sines[positions.long()]
    cosines, sines = cosines.unsqueeze(1), sines.unsqueeze(1)  # (batch, 1, time, depth / 2)
    depth = depth or parts.shape[-1]
    turned, rest = parts[..., :depth], parts[..., depth:]
    first, second = (turned[..., ::2], turned[..., 1::2]) if interleaved else turned.chunk(2, -1)
    real, imaginary = cosines * first - sines * second, sines * first + cosines * second
    result = torch.stack([real, imaginary], -1).flatten(-2) if interleaved else torch.cat([real, imaginary], -1)
    result = torch.cat([result, rest], -1)
    return join_heads(result) if tensor.ndim == 3 else result

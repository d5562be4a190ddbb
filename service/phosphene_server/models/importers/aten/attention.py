"""Attention: the fused product, and the form without a derivative that tracing under `no_grad` leaves behind."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator


def _attend(emit: Emitter, a: Arguments) -> Any:
    """Write scaled dot-product attention; its dropout is left out."""
    options = {name: a[name] for name in ("is_causal", "scale", "enable_gqa") if a.get(name) not in (None, False)}
    return emit.call(F.scaled_dot_product_attention, a["query"], a["key"], a["value"], a.get("attn_mask"), **options)


def _attend_with_statistics(emit: Emitter, a: Arguments) -> Any:
    """Write the form of one kernel, which also returns what its derivative needs."""
    mask = a.get("attn_mask") if "attn_mask" in a else a.get("attn_bias")
    return _attend(emit, {**a, "attn_mask": mask}), *[None] * 8


def _native_multi_head_attention(emit: Emitter, a: Arguments) -> Any:
    """Decompose the fast path of `nn.MultiheadAttention`, which has no derivative, for attention of a value to itself.

    Shapes: query (batch, time, features), projected to (3, batch, head, time, features of a head).
    """
    if not (a["query"] is a["key"] is a["value"]) or a.get("mask") is not None or a.get("need_weights", True):
        raise UnsupportedModel("", "fused attention is read for self-attention without mask and weights only")
    query, heads = a["query"], a["num_head"]
    batch, time = emit.size(query, 0), emit.size(query, 1)
    joint = emit.call(F.linear, query, a["qkv_weight"], a["qkv_bias"])
    apart = emit.call(torch.reshape, joint, [batch, time, 3, heads, a["embed_dim"] // heads])
    parts = emit.call(torch.permute, apart, [2, 0, 3, 1, 4])
    split = [emit.call(torch.select, parts, 0, part) for part in range(3)]
    mixed = emit.call(F.scaled_dot_product_attention, *split)
    return _project(emit, a, mixed, [batch, time, a["embed_dim"]]), None


def _project(emit: Emitter, a: Arguments, mixed: fx.Node, shape: list[Any]) -> fx.Node:
    joined = emit.call(torch.reshape, emit.call(torch.transpose, mixed, 1, 2), shape)
    return emit.call(F.linear, joined, a["proj_weight"], a["proj_bias"])


OPERATORS: dict[str, Operator] = {
    "scaled_dot_product_attention": Operator("attention", _attend),
    "_scaled_dot_product_flash_attention_for_cpu": Operator("attention", _attend_with_statistics),
    "_scaled_dot_product_flash_attention": Operator("attention", _attend_with_statistics),
    "_scaled_dot_product_efficient_attention": Operator("attention", _attend_with_statistics),
    "_scaled_dot_product_cudnn_attention": Operator("attention", _attend_with_statistics),
    "_scaled_dot_product_fused_attention_overrideable": Operator("attention", _attend_with_statistics),
    "_native_multi_head_attention": Operator("attention", _native_multi_head_attention),
}

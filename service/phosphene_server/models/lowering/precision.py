"""Weights and activations in bfloat16: the range of float32, with 8 bits of precision instead of 24.

Processors multiply such numbers several times faster, and move half the bytes. The pictures that come in, the layers
that go out and the gradient of the pictures are float32; sums within an operation are, too.
"""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from phosphene_server.models.lowering.draft import Draft


def compute_in_bfloat16(draft: Draft) -> None:
    """Round all floating-point tensors and inputs, and give the layers in float32."""
    for node, value in (*draft.named("get_attr"), *draft.named("call_module")):
        node.target = draft.register(node, draft.derive("rounded", [value], partial(_rounded, value)))
    for node in draft.inputs:
        with draft.graph.inserting_after(draft.redirected):
            rounded = draft.graph.call_function(_rounded, (node,))
        draft.read_instead(node, rounded)
    output = next(node for node in reversed(draft.graph.nodes) if node.op == "output")
    with draft.graph.inserting_before(output):
        output.args = (tuple(draft.graph.call_function(_widened, (value,)) for value in output.args[0]),)


def _rounded(value: Any) -> Any:
    """Return floating-point numbers in bfloat16, of a module those that it holds, and everything else as it is."""
    if isinstance(value, nn.Module):
        return copy.deepcopy(value).to(torch.bfloat16)
    return value.to(torch.bfloat16) if isinstance(value, Tensor) and value.is_floating_point() else value


def _widened(value: Tensor) -> Tensor:
    return value.float() if value.dtype == torch.bfloat16 else value

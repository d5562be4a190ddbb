"""Rectifiers behind maximum pools instead of before them.

The largest of some rectified values is the largest of the values, rectified: fewer values to rectify, and in the
backward pass a mask as small as the pool's result. Where a whole window is silent no gradient passes either way; the
one that a redirected rectifier passes (rectifiers.py) then goes to the least silent place of the window.
"""

import torch.nn.functional as F
from torch import fx

from phosphene_server.models.lowering.draft import Draft, is_call, only_reader
from phosphene_server.models.lowering.rectifiers import RELUS


def pool_before_rectifying(draft: Draft) -> None:
    """Exchange rectifiers and the pools that alone read them."""
    for node in draft.calls(*RELUS):
        pool = only_reader(node)
        if pool is not None and is_call(pool, F.max_pool2d) and not pool.kwargs.get("return_indices"):
            _exchange(draft, node, pool)


def _exchange(draft: Draft, rectifier: fx.Node, pool: fx.Node) -> None:
    (source,) = rectifier.all_input_nodes
    pool.replace_input_with(rectifier, source)
    with draft.graph.inserting_after(pool):
        rectified = draft.graph.node_copy(rectifier, lambda _: pool)
    draft.read_instead(pool, rectified)
    draft.graph.erase_node(rectifier)

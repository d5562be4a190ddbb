"""Lowering: a cut graph becomes its fastest equivalent for a device and a precision.

lowered.py               what comes out: the same layers, and rectifiers that can be redirected
draft.py                 a copy of a cut graph that passes rewrite, one after the other: `PASSES`
batch_normalization.py   normalizations become a part of the convolution before them
precision.py             weights and activations in bfloat16
pooling.py               rectifiers behind maximum pools instead of before them
siblings.py              convolutions of one pixel that read the same value become one
convolutions.py          convolutions with arranged weights, and the rectifiers behind them, as one operation
kernels.py               arranged weights, by operators of oneDNN
winograd.py              3x3 convolutions of many channels, with a quarter of the multiplications
input_gradients.py       the derivative of a convolution, as the convolution that it is
rectifiers.py            a way up where rectifiers block the gradient

A pass looks at the functions that nodes call and at the tensors that they name. Where it is of no use, or would change
a layer that was asked for, it leaves nodes as they are. Values differ from those of the cut graph by the rounding of
another order of operations. One difference is none of rounding: a rectifier within a convolution turns what is no
number into 0, as oneDNN does.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from phosphene_server.models.graph import CutGraph, ModelGraph
from phosphene_server.models.lowering.batch_normalization import fold_batch_normalizations
from phosphene_server.models.lowering.convolutions import pack_convolutions
from phosphene_server.models.lowering.draft import Derivations, Draft
from phosphene_server.models.lowering.lowered import LoweredGraph
from phosphene_server.models.lowering.pooling import pool_before_rectifying
from phosphene_server.models.lowering.precision import compute_in_bfloat16
from phosphene_server.models.lowering.rectifiers import make_redirectable
from phosphene_server.models.lowering.siblings import merge_siblings
from phosphene_server.values.maximization import Precision

__all__ = ["LoweredGraph", "Lowerings"]

Pass = Callable[[Draft], None]

PASSES: tuple[tuple[Pass, Sequence[Precision]], ...] = (
    (fold_batch_normalizations, ("float32", "bfloat16")),  # before the weights are rounded to bfloat16
    (compute_in_bfloat16, ("bfloat16",)),
    (pool_before_rectifying, ("float32", "bfloat16")),  # before convolutions take rectifiers in
    (merge_siblings, ("float32", "bfloat16")),
    (pack_convolutions, ("float32", "bfloat16")),
    (make_redirectable, ("float32", "bfloat16")),  # those rectifiers that no pass before has taken
)
"""All passes in their order, and the precisions that they are for. `merge_siblings` and `pack_convolutions` take the
convolutions that oneDNN computes on a CPU (see `kernels.can_pack`); the others are for all devices."""

MAXIMUM_GRAPHS = 64
"""Lowered graphs that are kept for a model; the one that was used longest ago goes first, and with
it the tensors that it shares with no other."""


class Lowerings:
    """The lowered graphs of a model that were asked for."""

    def __init__(self, graph: ModelGraph) -> None:
        """Take a graph whose tensors are where they stay."""
        self._graph = graph
        self._kept: OrderedDict[tuple[tuple[str, ...], Precision], tuple[CutGraph, LoweredGraph]] = OrderedDict()
        self._derivations = Derivations()

    def get(self, layers: Iterable[str], precision: Precision) -> LoweredGraph:
        """Return a lowered graph; the same again as long as the cut graph is the same.

        Raises:
            NotFound: no layer has one of the names.
        """
        cut = self._graph.cut(layers)
        key = (cut.layers, precision)
        kept = self._kept.pop(key, None)
        if kept is None or kept[0] is not cut:
            kept = (cut, lower(cut, precision, self._derivations))
        self._kept[key] = kept
        if len(self._kept) > MAXIMUM_GRAPHS:
            self._kept.popitem(last=False)
        return kept[1]


def lower(cut: CutGraph, precision: Precision, derivations: Derivations) -> LoweredGraph:
    """Return the fastest equivalent of a cut graph.

    Args:
        cut: The graph.
        precision: `float32`: its own type; `bfloat16`: weights and activations in bfloat16, layers in float32.
        derivations: What was derived from the model's tensors for its other graphs.
    """
    draft = Draft(cut, derivations)
    for rewrite, precisions in PASSES:
        if precision in precisions:
            rewrite(draft)
    return LoweredGraph(draft.finish(), cut.layers, cut.batching, precision, draft.derived)

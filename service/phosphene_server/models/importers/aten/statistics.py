"""Statistics and order: quantiles, histograms, differences, and where a value stands among others."""

from typing import Any

import torch

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator, direct


def _kth_value(emit: Emitter, a: Arguments) -> Any:
    both = emit.call(torch.kthvalue, a["self"], a["k"], a.get("dim", -1), a.get("keepdim", False))
    return emit.item(both, 0), emit.item(both, 1)


def _mode(emit: Emitter, a: Arguments) -> Any:
    both = emit.call(torch.mode, a["self"], a.get("dim", -1), a.get("keepdim", False))
    return emit.item(both, 0), emit.item(both, 1)


OPERATORS: dict[str, Operator] = {
    "kthvalue": Operator("quantile", _kth_value),
    "mode": Operator("quantile", _mode),
    "quantile": direct("quantile", torch.quantile, "self", "q", "dim", "keepdim", keywords=("interpolation",)),
    "nanquantile": direct("quantile", torch.nanquantile, "self", "q", "dim", "keepdim", keywords=("interpolation",)),
    "nanmean": direct("mean", torch.nanmean, "self", "dim", "keepdim"),
    "nansum": direct("sum", torch.nansum, "self", "dim", "keepdim"),
    "count_nonzero": direct("sum", torch.count_nonzero, "self", "dim"),
    "logcumsumexp": direct("cumulative_sum", torch.logcumsumexp, "self", "dim"),
    "diff": direct("subtraction", torch.diff, "self", "n", "dim", "prepend", "append"),
    "trapz": direct("sum", torch.trapz, "y", keywords=("dx", "dim")),
    "trapezoid": direct("sum", torch.trapezoid, "y", keywords=("dx", "dim")),
    "cov": direct("variance", torch.cov, "self", keywords=("correction", "fweights", "aweights")),
    "corrcoef": direct("variance", torch.corrcoef, "self"),
    "renorm": direct("normalization", torch.renorm, "self", "p", "dim", "maxnorm"),
    "histc": direct("histogram", torch.histc, "self", "bins", "min", "max"),
    "bincount": direct("histogram", torch.bincount, "self", "weights", "minlength"),
    "bucketize": direct("comparison", torch.bucketize, "self", "boundaries", keywords=("out_int32", "right")),
    "searchsorted": direct(
        "comparison", torch.searchsorted, "sorted_sequence", "self", keywords=("out_int32", "right")
    ),
    "nonzero": direct("gather", torch.nonzero, "self"),
    "argwhere": direct("gather", torch.argwhere, "self"),
    "masked_select": direct("gather", torch.masked_select, "self", "mask"),
    "take": direct("gather", torch.take, "self", "index"),
    "isin": direct("comparison", torch.isin, "elements", "test_elements", keywords=("assume_unique", "invert")),
    "isclose": direct("comparison", torch.isclose, "self", "other", "rtol", "atol", "equal_nan"),
}

"""Linear algebra beyond products: inverses, determinants, decompositions, and products of several tensors."""

from collections.abc import Callable
from typing import Any

import torch

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator, direct


def _several(function: Callable[..., Any], count: int, *names: str) -> Operator:
    row = direct("decomposition", function, *names)

    def lower(emit: Emitter, a: Arguments) -> Any:
        results = row.lower(emit, a)
        return tuple(emit.item(results, index) for index in range(count))

    return Operator("decomposition", lower)


def _chain(emit: Emitter, a: Arguments) -> Any:
    """Write a product of many matrices."""
    tensors = a["tensors"] if "tensors" in a else a["matrices"]
    return emit.call(torch.linalg.multi_dot, list(tensors))


def _tensordot(emit: Emitter, a: Arguments) -> Any:
    return emit.call(torch.tensordot, a["self"], a["other"], dims=(list(a["dims_self"]), list(a["dims_other"])))


OPERATORS: dict[str, Operator] = {
    "linalg_inv": direct("inverse", torch.linalg.inv, "A"),
    "inverse": direct("inverse", torch.inverse, "self"),
    "linalg_pinv": direct("inverse", torch.linalg.pinv, "self"),
    "linalg_det": direct("determinant", torch.linalg.det, "A"),
    "det": direct("determinant", torch.det, "self"),
    "logdet": direct("determinant", torch.logdet, "self"),
    "linalg_solve": direct("inverse", torch.linalg.solve, "A", "B", keywords=("left",)),
    "linalg_cholesky": direct("decomposition", torch.linalg.cholesky, "self", keywords=("upper",)),
    "linalg_matrix_exp": direct("exponential", torch.linalg.matrix_exp, "self"),
    "linalg_matrix_power": direct("power", torch.linalg.matrix_power, "self", "n"),
    "matrix_power": direct("power", torch.matrix_power, "self", "n"),
    "linalg_norm": direct("norm", torch.linalg.norm, "self", "ord", "dim", "keepdim"),
    "linalg_matrix_norm": direct("norm", torch.linalg.matrix_norm, "self", "ord", "dim", "keepdim"),
    "linalg_svd": _several(torch.linalg.svd, 3, "A", "full_matrices"),
    "linalg_qr": _several(torch.linalg.qr, 2, "A", "mode"),
    "linalg_eigh": _several(torch.linalg.eigh, 2, "self", "UPLO"),
    "linalg_multi_dot": Operator("matrix_product", _chain),
    "chain_matmul": Operator("matrix_product", _chain),
    "tensordot": Operator("matrix_product", _tensordot),
    "addr": direct("matrix_product", torch.addr, "self", "vec1", "vec2", keywords=("beta", "alpha")),
    "vdot": direct("matrix_product", torch.vdot, "self", "other"),
    "cross": direct("multiplication", torch.cross, "self", "other", keywords=("dim",)),
    "trace": direct("sum", torch.trace, "self"),
    "diag": direct("slice", torch.diag, "self", "diagonal"),
    "linalg_diagonal": direct("slice", torch.linalg.diagonal, "A", keywords=("offset", "dim1", "dim2")),
}

"""Linear layers and products of matrices."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx

from phosphene_server.models.graph import FilterGeometry
from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator, direct


def _linear(emit: Emitter, arguments: Arguments) -> fx.Node:
    return _write_linear(emit, arguments["input"], arguments["weight"], arguments.get("bias"))


def _write_linear(emit: Emitter, value: fx.Node, weight: fx.Node, bias: fx.Node | None) -> fx.Node:
    node = emit.call(F.linear, value, weight, bias)
    emit.kinds[node] = "linear"
    if weight.op == "get_attr":
        trained_bias = bias is not None and bias.op == "get_attr"
        emit.filters[node] = FilterGeometry(str(weight.target), str(bias.target) if bias and trained_bias else None)
    return node


def _addmm(emit: Emitter, arguments: Arguments) -> Any:
    """Write `beta * self + alpha * mat1 @ mat2`; older tracers and decompositions write linear layers so."""
    beta, alpha = arguments.get("beta", 1), arguments.get("alpha", 1)
    weight = _transposed_weight(arguments["mat2"])
    if weight is not None and beta == 1 and alpha == 1:
        return _write_linear(emit, arguments["mat1"], weight, arguments["self"])
    return emit.call(torch.addmm, arguments["self"], arguments["mat1"], arguments["mat2"], beta=beta, alpha=alpha)


def _matmul(emit: Emitter, arguments: Arguments) -> fx.Node:
    second = arguments["other"] if "other" in arguments else arguments["mat2"]
    weight = _transposed_weight(second)
    if weight is not None:
        return _write_linear(emit, arguments["self"], weight, None)
    return emit.call(torch.matmul, arguments["self"], second)


def _transposed_weight(value: Any) -> fx.Node | None:
    """Return the trained weight of which a value is the transposed, None where it is something else."""
    if not isinstance(value, fx.Node) or value.op != "call_function":
        return None
    swaps = value.target is torch.t or (
        value.target is torch.permute and list(value.args[1]) == [1, 0]  # type: ignore[arg-type]  # a list of axes
    )
    source = value.args[0] if swaps else None
    return source if isinstance(source, fx.Node) and source.op == "get_attr" else None


def _einsum(emit: Emitter, arguments: Arguments) -> fx.Node:
    return emit.call(torch.einsum, arguments["equation"], *arguments["tensors"])


OPERATORS: dict[str, Operator] = {
    "linear": Operator("linear", _linear),
    "addmm": Operator("matrix_product", _addmm),
    "mm": Operator("matrix_product", _matmul),
    "matmul": Operator("matrix_product", _matmul),
    "bmm": direct("matrix_product", torch.bmm, "self", "mat2"),
    "baddbmm": direct("matrix_product", torch.baddbmm, "self", "batch1", "batch2", keywords=("beta", "alpha")),
    "mv": direct("matrix_product", torch.mv, "self", "vec"),
    "dot": direct("matrix_product", torch.dot, "self", "tensor"),
    "outer": direct("matrix_product", torch.outer, "self", "vec2"),
    "inner": direct("matrix_product", torch.inner, "self", "other"),
    "linalg_matmul": Operator("matrix_product", _matmul),
    "addmv": direct("matrix_product", torch.addmv, "self", "mat", "vec", keywords=("beta", "alpha")),
    "addbmm": direct("matrix_product", torch.addbmm, "self", "batch1", "batch2", keywords=("beta", "alpha")),
    "kron": direct("matrix_product", torch.kron, "self", "other"),
    "linalg_cross": direct("multiplication", torch.linalg.cross, "self", "other", keywords=("dim",)),
    "bilinear": direct("bilinear", F.bilinear, "input1", "input2", "weight", "bias"),
    "cdist": direct("distance", torch.cdist, "x1", "x2", "p"),
    "_cdist_forward": direct("distance", torch.cdist, "x1", "x2", "p"),
    "cosine_similarity": direct("distance", F.cosine_similarity, "x1", "x2", "dim", "eps"),
    "pairwise_distance": direct("distance", F.pairwise_distance, "x1", "x2", "p", "eps", "keepdim"),
    "einsum": Operator("matrix_product", _einsum),
}

"""Matrix products. A product with a constant matrix is a linear layer, whose weight torch takes as (out, in)."""

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from phosphene_server.models.graph import FilterGeometry
from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.values import Value


def general_product(operation: Operation) -> Value:
    """Gemm: alpha A' B' + beta C, where a prime is an optional transposition."""
    first, second, third = operation.data(0), operation.data(1), operation.optional(2)
    alpha, beta = operation.attribute("alpha", 1.0), operation.attribute("beta", 1.0)
    if operation.attribute("transA", 0):
        first = operation.call(torch.t, first)
    if alpha != 1.0:
        second = operation.call(torch.mul, second, alpha)
    if third is not None and beta != 1.0:
        third = operation.call(torch.mul, third, beta)
    if isinstance(second, Tensor) and isinstance(first, fx.Node):
        return _linear(operation, first, second, third, as_torch=bool(operation.attribute("transB", 0)))
    if operation.attribute("transB", 0):
        second = operation.call(torch.t, second)
    product = operation.call(torch.matmul, first, second)
    return product if third is None else operation.call(torch.add, product, third)


def matrix_product(operation: Operation) -> Value:
    """MatMul, of a constant matrix as a linear layer."""
    first, second = operation.data(0), operation.data(1)
    if isinstance(second, Tensor) and second.ndim == 2 and isinstance(first, fx.Node):
        return _linear(operation, first, second, None, as_torch=False)
    return operation.call(torch.matmul, first, second)


def einsum(operation: Operation) -> Value:
    """Einsum."""
    operands = [operation.data(index) for index in range(len(operation.inputs))]
    return operation.call(torch.einsum, operation.attribute("equation").replace(" ", ""), *operands)


def determinant(operation: Operation) -> Value:
    """Det."""
    return operation.call(torch.linalg.det, operation.data(0))


def _linear(
    operation: Operation, value: fx.Node, matrix: Tensor, bias: Tensor | fx.Node | None, *, as_torch: bool
) -> Value:
    """Emit a linear layer; `as_torch`: the matrix is (out, in) already.

    A bias that is no vector of all outputs (ONNX broadcasts any) is added after it.
    """
    weight = operation.trained(matrix if as_torch else operation.transposed(matrix), "weight")
    outputs = matrix.shape[0] if as_torch else matrix.shape[1]
    vector: fx.Node | None = None
    if isinstance(bias, Tensor) and tuple(bias.shape) == (outputs,):
        vector, bias = operation.trained(bias, "bias"), None
    operation.kind = "linear"
    operation.filters = FilterGeometry(str(weight.target), str(vector.target) if vector is not None else None)
    result = operation.call(F.linear, value, weight, vector)
    return result if bias is None else operation.call(torch.add, result, bias)

"""Quantized numbers: QuantizeLinear and DequantizeLinear, and the operators on integers that are their products.

A quantized network computes q = clip(round(x / scale) + zero point) and later x' = (q - zero point) * scale. Here q
stays a floating-point tensor that holds integers, whatever integer type the file declares, and rounding has a
straight-through gradient (rounding.py): from x to x' the gradient is the identity where x was not clipped and zero
where it was. Reshaping, pooling or joining quantized values in between keeps both. They become integers only where
bits matter: in casts, in bitwise operators and in the outputs of the network.

What is known at import, above all the dequantized weights, is folded, so that a quantized convolution has filters as
any other. The operators on quantized numbers (QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger) compute in the
floating-point type of the graph: float32 adds integers exactly up to 2²⁴ and rounds larger sums.
"""

from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor, fx

from phosphene_server.models.importers.onnx.arguments import KnownAtRunTime
from phosphene_server.models.importers.onnx.operation import Handler, Operation
from phosphene_server.models.importers.onnx.operators.casting import element_type_name, folding_reference
from phosphene_server.models.importers.onnx.operators.convolution import convolution
from phosphene_server.models.importers.onnx.operators.matrix import matrix_product
from phosphene_server.models.importers.onnx.operators.rounding import SMALL_FLOATS, to_integers, to_small_float
from phosphene_server.models.importers.onnx.tensors import INTEGER_BITS, integer_range
from phosphene_server.models.importers.onnx.value_types import ValueType
from phosphene_server.models.importers.onnx.values import Value

Known = Tensor | fx.Node


def quantize_linear(operation: Operation) -> Value:
    """QuantizeLinear, by tensor, axis or block; the division is in the type of the graph, whatever `precision` says."""
    target = _target(operation, 2)
    axis, block = operation.attribute("axis", 1), operation.attribute("block_size", 0)
    value, scale, zero_point = operation.data(0), operation.data(1), operation.optional(2)
    saturate = bool(operation.attribute("saturate", 1))
    return operation.call(quantize, value, scale, zero_point, target, axis=axis, block=block, saturate=saturate)


def dequantize_linear(operation: Operation) -> Value:
    """DequantizeLinear, by tensor, axis or block."""
    axis, block = operation.attribute("axis", 1), operation.attribute("block_size", 0)
    return operation.call(
        dequantize, operation.data(0), operation.data(1), operation.optional(2), axis=axis, block=block
    )


def dynamic_quantize_linear(operation: Operation) -> tuple[Value, ...]:
    """DynamicQuantizeLinear to uint8; scale and zero point have no gradient, as if they were known."""
    value = operation.data(0)
    scale = operation.call(dynamic_scale, value)
    zero_point = operation.call(dynamic_zero_point, value, scale)
    return operation.call(quantize, value, scale, zero_point, TensorProto.UINT8), scale, zero_point


def quantized_convolution(operation: Operation) -> Value:
    """QLinearConv: a convolution between DequantizeLinear and QuantizeLinear, weights by tensor or by filter."""
    value = _dequantized(operation, 0, axis=1)
    weight = _dequantized(operation, 3, axis=0)
    bias = operation.optional(8)
    if bias is not None:
        scale = operation.call(torch.mul, operation.data(1), operation.data(4))
        bias = operation.call(dequantize, bias, scale, None, axis=0)
        _named(operation, bias, 8)
    _named(operation, weight, 3)
    return _requantized(operation, _composed(operation, convolution, (value, 0), (weight, 3), (bias, 8)))


def quantized_matrix_product(operation: Operation) -> Value:
    """QLinearMatMul; scales of the first matrix may go by row, those of the second by column."""
    first, second = _dequantized(operation, 0, axis=-2), _dequantized(operation, 3, axis=-1)
    _named(operation, second, 3)
    return _requantized(operation, _composed(operation, matrix_product, (first, 0), (second, 3)))


def integer_convolution(operation: Operation) -> Value:
    """ConvInteger: the zero points are subtracted and the sums are int32; that of the weight may go by filter."""
    value, weight = _centred(operation, 0, 2, axis=1), _centred(operation, 1, 3, axis=0)
    _named(operation, weight, 1)
    return _composed(operation, convolution, (value, 0), (weight, 1))


def integer_matrix_product(operation: Operation) -> Value:
    """MatMulInteger: the zero points are subtracted, by row and by column, and the sums are int32."""
    first, second = _centred(operation, 0, 2, axis=-2), _centred(operation, 1, 3, axis=-1)
    _named(operation, second, 1)
    return _composed(operation, matrix_product, (first, 0), (second, 1))


def quantize(
    tensor: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    target: int,
    *,
    axis: int = 1,
    block: int = 0,
    saturate: bool = True,
) -> Tensor:
    """Return clip(round(x / scale) + zero point) as floating-point numbers, halves rounded to the even number.

    Args:
        tensor: Numbers of any shape.
        scale: One number, one for each index of `axis`, or one for each block of `block` elements along `axis`.
        zero_point: The same shape, None for zeros.
        target: The ONNX type whose numbers result: an integer type or one of SMALL_FLOATS.
        axis: The axis that scales go along.
        block: Elements along `axis` that share a scale; 0: not in blocks.
        saturate: For small floating-point types: whether larger numbers become the largest.
    """
    scaled = tensor.to(scale.dtype) / along(scale, tensor, axis, block)
    offset = None if zero_point is None else along(zero_point, tensor, axis, block)
    if target in SMALL_FLOATS:
        shifted = scaled if offset is None else scaled + offset
        return to_small_float(shifted, target, saturate=saturate)
    return to_integers(scaled, offset, *integer_range(target))


def dequantize(tensor: Tensor, scale: Tensor, zero_point: Tensor | None, *, axis: int = 1, block: int = 0) -> Tensor:
    """Return (q - zero point) * scale in the type of the scale; arguments as in `quantize`."""
    steps = tensor.to(scale.dtype)
    if zero_point is not None:
        steps = steps - along(zero_point.to(scale.dtype), tensor, axis, block)
    return steps * along(scale, tensor, axis, block)


def along(parameter: Tensor, tensor: Tensor, axis: int, block: int) -> Tensor:
    """Return scales or zero points in a shape that broadcasts against a tensor."""
    if parameter.numel() == 1:
        return parameter.reshape(())
    if block:
        return parameter.repeat_interleave(block, axis).narrow(axis, 0, tensor.shape[axis])
    if parameter.ndim > 1:
        return parameter
    shape = [1] * tensor.ndim
    shape[axis] = -1
    return parameter.reshape(shape)


def dynamic_scale(tensor: Tensor) -> Tensor:
    """Return the scale that spreads 256 steps over the range of a tensor and zero."""
    low, high = _range(tensor)
    return torch.where(high > low, high - low, 1.0) / 255.0


def dynamic_zero_point(tensor: Tensor, scale: Tensor) -> Tensor:
    """Return the step, 0 to 255, that stands for zero."""
    low, _ = _range(tensor)
    return torch.round((-low / scale).clamp(0.0, 255.0))


def _range(tensor: Tensor) -> tuple[Tensor, Tensor]:
    low, high = torch.aminmax(tensor.detach())
    return low.clamp(max=0.0), high.clamp(min=0.0)


def centred(tensor: Tensor, zero_point: Tensor | None, reference: Tensor, *, axis: int) -> Tensor:
    """Return q - zero point in the floating-point type of the graph."""
    steps = tensor.to(reference.dtype)
    return steps if zero_point is None else steps - along(zero_point.to(reference.dtype), tensor, axis, 0)


def _centred(operation: Operation, index: int, zero_point: int, *, axis: int) -> Known:
    value, zero = operation.data(index), operation.optional(zero_point)
    return operation.call(centred, value, zero, folding_reference(operation, value, zero), axis=axis)


def _dequantized(operation: Operation, index: int, *, axis: int) -> Known:
    """Return the input that is given as integers, scale and zero point from `index` on."""
    value, scale, zero_point = operation.data(index), operation.data(index + 1), operation.optional(index + 2)
    return operation.call(dequantize, value, scale, zero_point, axis=axis)


def _requantized(operation: Operation, value: Known) -> Value:
    """Return a result in the scale, zero point and type that inputs 6 and 7 ask for."""
    return operation.call(quantize, value, operation.data(6), operation.data(7), _target(operation, 7))


def _target(operation: Operation, zero_point: int) -> int:
    """Return the ONNX type of quantized numbers: that of the zero point, else `output_dtype`, else uint8."""
    given = operation.input(zero_point) is not None
    target: int = operation.element_type(zero_point) if given else operation.attribute("output_dtype", 0)
    if given and target == TensorProto.UNDEFINED:
        raise KnownAtRunTime("a type that the file does not say")
    target = target or TensorProto.UINT8
    if target not in INTEGER_BITS and target not in SMALL_FLOATS:
        raise operation.unsupported(f"the element type {element_type_name(target)}")
    return target


def _composed(operation: Operation, handler: Handler, *inputs: tuple[Known | None, int]) -> Known:
    """Return the result of another operator's handler, with the attributes of this node.

    Args:
        operation: The node.
        handler: The handler of the operator on floating-point numbers.
        inputs: What that operator reads, and which inputs of this node the shapes are declared of.
    """
    values = [value for value, _ in inputs]
    types = [
        ValueType(TensorProto.FLOAT, operation.declared_shape(index) if index < len(operation.inputs) else None)
        for _, index in inputs
    ]
    inner = operation.with_inputs(values, types)
    result: Any = handler(inner)
    operation.filters, operation.parameters = inner.filters, inner.parameters
    composed: Known = result
    return composed


def _named(operation: Operation, value: Known, index: int) -> None:
    """Keep a constant that was computed from an input under that input's name."""
    if isinstance(value, Tensor):
        operation.placed(value, operation.node.input[index])

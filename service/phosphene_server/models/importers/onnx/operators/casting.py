"""Cast, CastLike and BitCast: changes of type, and what each means where the graph has one floating-point type.

A value that the file declares as half, bfloat16, float or double stays in the type of the graph. Casts to the small
floating-point types round, with a straight-through gradient; casts to integers cut off the fraction and wrap to the
width. A quantized value is held as floating-point numbers (quantization.py) and loses nothing on its way back.
"""

import torch
from onnx import TensorProto
from torch import Tensor, fx

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.operators.rounding import SMALL_FLOATS, to_power_of_two, to_small_float
from phosphene_server.models.importers.onnx.tensors import FLOATING, INTEGER_BITS, STORED_TYPES, TORCH_TYPES, wrapped
from phosphene_server.models.importers.onnx.values import Value


def cast(operation: Operation) -> Value:
    """Cast: between the larger floating-point types it is the identity, since the graph has one of them."""
    return _cast(operation, operation.attribute("to"))


def cast_like(operation: Operation) -> Value:
    """CastLike: the type of the second input."""
    target = operation.element_type(1)
    if target != TensorProto.UNDEFINED:
        return _cast(operation, target)
    return operation.call(torch.Tensor.type_as, operation.data(0), operation.data(1))


def _cast(operation: Operation, target: int) -> Value:
    if target not in TORCH_TYPES:
        raise operation.unsupported(f"the element type {element_type_name(target)}")
    value = operation.data(0)
    saturate = bool(operation.attribute("saturate", 1))
    value = operation.call(as_type, value, target, folding_reference(operation, value, element_type=target))
    if target in SMALL_FLOATS:
        return operation.call(to_small_float, value, target, saturate=saturate)
    if target == TensorProto.FLOAT8E8M0:
        return operation.call(to_power_of_two, value, operation.attribute("round_mode", "up"), saturate=saturate)
    return value


def element_type_name(element_type: int) -> str:
    """Return the name that ONNX gives to an element type, its number where it has none."""
    known = element_type in TensorProto.DataType.values()
    return TensorProto.DataType.Name(element_type) if known else str(element_type)


def folding_reference(
    operation: Operation, *values: Value | None, element_type: int = TensorProto.FLOAT
) -> Tensor | fx.Node:
    """Return a reference that leaves a function of known values known: a number where all of them are.

    Args:
        operation: The node.
        values: What the function takes beside the reference.
        element_type: The type of what is known; double numbers stay double until they enter the graph.
    """
    if any(isinstance(value, fx.Node) for value in values):
        return operation.reference()
    return torch.zeros((), dtype=TORCH_TYPES[element_type])


def as_type(tensor: Tensor, element_type: int, reference: Tensor) -> Tensor:
    """Return a tensor in an ONNX type: floating-point ones in that of the graph, which `reference` has."""
    if element_type not in FLOATING:
        return as_integers(tensor, element_type)
    return tensor.to(reference.dtype)


def as_integers(tensor: Tensor, element_type: int) -> Tensor:
    """Return a tensor in an ONNX integer type or as booleans: fractions are cut off, other widths wrap around."""
    held = TORCH_TYPES[element_type]
    if element_type not in INTEGER_BITS:
        return tensor.to(held)
    if tensor.is_floating_point():
        # Through int64, since a number that does not fit is undefined otherwise.
        tensor = tensor.to(torch.int64)
    return wrapped(tensor.to(held), element_type)


def bit_cast(operation: Operation) -> Value:
    """BitCast: the same bits as another type of the same width; gradients do not pass."""
    source, target = operation.element_type(0), operation.attribute("to")
    for element_type in (source, target):
        if element_type not in STORED_TYPES:
            raise operation.unsupported(f"the element type {element_type_name(element_type)}")
    if STORED_TYPES[source].itemsize != STORED_TYPES[target].itemsize:
        raise ValueError("the types have different widths")
    value = operation.data(0)
    return operation.call(same_bits, value, source, target, folding_reference(operation, value))


def same_bits(tensor: Tensor, source: int, target: int, reference: Tensor) -> Tensor:
    """Return the bits of numbers of one ONNX type as numbers of another.

    Args:
        tensor: The numbers, in the type that holds `source`.
        source: The ONNX type that the file declares for them.
        target: The ONNX type wanted; of the same width.
        reference: A tensor of the floating-point type of the graph.
    """
    result = tensor.detach().to(STORED_TYPES[source]).view(STORED_TYPES[target])
    return result.to(reference.dtype) if target in FLOATING else result.to(TORCH_TYPES[target])
